// Adds the rows of chosen segments to those that they were gathered from.
//
// A block has ROWS rows of one chosen segment.
#include "element.cuh"

constexpr uint32_t WARPS = 8;
constexpr uint32_t THREADS = WARP * WARPS;
constexpr uint32_t ROWS = 32;

template <int N, class T>
__device__ __forceinline__ void add_row(T* __restrict__ to, const T* __restrict__ from, uint32_t d) {
#pragma unroll 4
    for (uint32_t i = threadIdx.x % WARP; i < d / N; i += WARP) {
        const Pack<N> more = load<N>(from, i);
        Pack<N> sum = load<N>(to, i);
#pragma unroll
        for (int n = 0; n < N; n++) sum[n] += more[n];
        store<N>(to, i, sum);
    }
}

// Of the `bound` places in `index` the first `*live` are filled. No segment is chosen twice.
template <class T>
__device__ void gather_bwd(const T* __restrict__ dy, const uint32_t* __restrict__ offsets,
                           const uint32_t* __restrict__ index, T* __restrict__ dx, uint32_t d, uint32_t chunks,
                           uint32_t bound, const uint32_t* live) {
    __shared__ uint32_t partial[WARPS];
    const uint32_t place = blockIdx.x / chunks, chunk = blockIdx.x % chunks;
    if (place >= true_rows(bound, live)) return;
    uint32_t before = 0;
    for (uint32_t i = threadIdx.x; i < place; i += THREADS) before += offsets[index[i] + 1] - offsets[index[i]];
    const uint32_t start = block_sum(before, partial), segment = index[place];
    const uint32_t target = offsets[segment], rows = offsets[segment + 1] - target;
    const uint32_t end = min(rows, (chunk + 1) * ROWS);
    for (uint32_t row = chunk * ROWS + threadIdx.x / WARP; row < end; row += WARPS) {
        T* to = dx + (size_t)(target + row) * d;
        const T* from = dy + (size_t)(start + row) * d;
        if (is_packed<T>(d)) {
            add_row<PACK<T>>(to, from, d);
        } else {
            add_row<1>(to, from, d);
        }
    }
}

#define PARAMETERS(T)                                                                                                  \
    (const T* dy, const uint32_t* offsets, const uint32_t* index, T* dx, uint32_t d, uint32_t chunks, uint32_t bound,  \
     const uint32_t* live)
KERNEL_OF_ELEMENTS(gather_bwd, THREADS, PARAMETERS, (dy, offsets, index, dx, d, chunks, bound, live))
