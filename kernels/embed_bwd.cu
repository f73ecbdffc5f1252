// dtable[ids[i]] += dy[i], in the order of i.
//
// `embed_order` sorts: a token's place is the number of those that come before it, which are counted. It is quadratic,
// and yet little beside the rows themselves. `embed_bwd` then has a block for each place, of which those work that an id
// begins at: a row of the table has one owner.
#include "quad.cuh"

constexpr uint32_t THREADS = 256;
constexpr uint32_t OWN = 4;  // tokens that a thread places
constexpr uint32_t TILE = THREADS * OWN;

// ids, order, sorted [bound]: sorted[p] = ids[order[p]].
extern "C" __global__ void __launch_bounds__(THREADS)
    embed_order(const uint32_t* __restrict__ ids, uint32_t* __restrict__ order, uint32_t* __restrict__ sorted,
                uint32_t bound, const uint32_t* live) {
    __shared__ __align__(16) uint32_t others[TILE];
    const uint32_t count = true_rows(bound, live), first = blockIdx.x * TILE + threadIdx.x;
    if (blockIdx.x * TILE >= count) return;
    uint32_t own[OWN], place[OWN] = {};
#pragma unroll
    for (uint32_t k = 0; k < OWN; k++) own[k] = first + k * THREADS < count ? ids[first + k * THREADS] : 0;
    for (uint32_t start = 0; start < count; start += TILE) {
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < TILE; i += THREADS) {
            // What is not there comes after everything.
            others[i] = start + i < count ? ids[start + i] : 0xffffffffu;
        }
        __syncthreads();
        for (uint32_t i = 0; i < TILE; i += 4) {
            const uint4 four = *reinterpret_cast<const uint4*>(others + i);
            const uint32_t id[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
            for (uint32_t j = 0; j < 4; j++) {
#pragma unroll
                for (uint32_t k = 0; k < OWN; k++) {
                    // Of equal ids, the earlier token comes first.
                    place[k] += id[j] < own[k] + (start + i + j < first + k * THREADS);
                }
            }
        }
    }
#pragma unroll
    for (uint32_t k = 0; k < OWN; k++) {
        if (first + k * THREADS >= count) continue;
        order[place[k]] = first + k * THREADS;
        sorted[place[k]] = own[k];
    }
}

constexpr uint32_t ROW_THREADS = 128;

// The end of the run of equal ids that begins at `first`, or `first` if none does. All lanes of a warp call it.
__device__ __forceinline__ uint32_t end_of_run(const uint32_t* sorted, uint32_t first, uint32_t count) {
    // Most runs are short: neighbours first, and then as many as a warp sees.
    const uint32_t lane = threadIdx.x % WARP, place = first + lane - 1;
    const uint32_t id = lane < 3 && place < count ? sorted[place] : 0xffffffffu;
    const uint32_t own = __shfl_sync(ALL_LANES, id, 1);
    if (first > 0 && __shfl_sync(ALL_LANES, id, 0) == own) return first;
    if (__shfl_sync(ALL_LANES, id, 2) != own) return first + 1;
    for (uint32_t start = first;; start += WARP) {
        const bool same = start + lane < count && sorted[start + lane] == own;
        const uint32_t others = ~__ballot_sync(ALL_LANES, same);
        if (others != 0) return start + __ffs(others) - 1;
    }
}

// Adds these rows of dy to a row of the table.
template <int N, class T>
__device__ __forceinline__ void add_rows(const T* __restrict__ dy, const uint32_t* rows, uint32_t count,
                                         float* __restrict__ to, uint32_t d) {
    for (uint32_t i = threadIdx.x; i < d / N; i += ROW_THREADS) {
        Pack<N> sum = load_quad<N>(to, i);
#pragma unroll 2
        for (uint32_t k = 0; k < count; k++) {
            const Pack<N> more = load_quad<N>(dy + (size_t)rows[k] * d, i);
#pragma unroll
            for (int n = 0; n < N; n++) sum[n] += more[n];
        }
        store_quad<N>(to, i, sum);
    }
}

template <class T>
__device__ void embed_bwd(const T* __restrict__ dy, const uint32_t* __restrict__ order,
                          const uint32_t* __restrict__ sorted, float* __restrict__ dtable, uint32_t d, uint32_t bound,
                          const uint32_t* live) {
    __shared__ uint32_t rows[ROW_THREADS], run[2];
    const uint32_t first = blockIdx.x, count = true_rows(bound, live);
    if (first >= count) return;
    if (threadIdx.x < WARP) {
        const uint32_t end = end_of_run(sorted, first, count);
        if (threadIdx.x == 0) {
            run[0] = end;
            run[1] = end == first ? 0 : sorted[first];
        }
    }
    __syncthreads();
    const uint32_t end = run[0];
    float* const to = dtable + (size_t)run[1] * d;
    for (uint32_t start = first; start < end; start += ROW_THREADS) {
        const uint32_t many = min(end - start, ROW_THREADS);
        if (threadIdx.x < many) rows[threadIdx.x] = order[start + threadIdx.x];
        __syncthreads();
        if (d % 4 == 0) {
            add_rows<4>(dy, rows, many, to, d);
        } else {
            add_rows<1>(dy, rows, many, to, d);
        }
        __syncthreads();
    }
}

#define PARAMETERS(T)                                                                                                  \
    (const T* dy, const uint32_t* order, const uint32_t* sorted, float* dtable, uint32_t d, uint32_t bound,            \
     const uint32_t* live)
KERNEL_OF_ELEMENTS(embed_bwd, ROW_THREADS, PARAMETERS, (dy, order, sorted, dtable, d, bound, live))
