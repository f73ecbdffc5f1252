// Rows from the memory store, one run behind the other, widened or rounded to the machine's type. A block has ROWS rows
// of one run.
#include "element.cuh"

constexpr uint32_t WARPS = 8;
constexpr uint32_t THREADS = WARP * WARPS;
constexpr uint32_t ROWS = 32;

// A run of stored rows; src/cuda/dequantise.rs has the same.
struct Run {
    const void* values;
    const float* scales;  // none of bf16
    uint32_t first_row, first_block, rows, unused;
};

__device__ __forceinline__ float widen(int8_t x) { return float(x); }

// N stored numbers, in one access.
template <int N, class S> struct alignas(N * sizeof(S)) Stored {
    S x[N];
};

// A lane takes as many numbers at a time as it can store at once.
template <class T, class S>
__device__ __forceinline__ void widen_row(T* __restrict__ to, const S* __restrict__ from, float scale, uint32_t d) {
    constexpr int N = PACK<T>;
    const uint32_t lane = threadIdx.x % WARP;
    if (is_packed<T>(d)) {
#pragma unroll 4
        for (uint32_t i = lane; i < d / N; i += WARP) {
            const Stored<N, S> stored = reinterpret_cast<const Stored<N, S>*>(from)[i];
            Pack<N> p;
#pragma unroll
            for (int n = 0; n < N; n++) p[n] = widen(stored.x[n]) * scale;
            store<N>(to, i, p);
        }
    } else {
        for (uint32_t i = lane; i < d; i += WARP) to[i] = narrow<T>(widen(from[i]) * scale);
    }
}

template <class T>
__device__ void dequantise(const Run* __restrict__ runs, T* __restrict__ y, uint32_t d, uint32_t count) {
    __shared__ uint32_t partial[WARPS];
    __shared__ Run run;
    uint32_t begun = 0;
    for (uint32_t i = threadIdx.x; i < count; i += THREADS) begun += runs[i].first_block <= blockIdx.x;
    const uint32_t own = block_sum(begun, partial) - 1;
    if (threadIdx.x == 0) run = runs[own];
    __syncthreads();
    const uint32_t first = (blockIdx.x - run.first_block) * ROWS, end = min(run.rows, first + ROWS);
    for (uint32_t row = first + threadIdx.x / WARP; row < end; row += WARPS) {
        T* to = y + (size_t)(run.first_row + row) * d;
        if (run.scales) {
            widen_row(to, static_cast<const int8_t*>(run.values) + (size_t)row * d, run.scales[row], d);
        } else {
            widen_row(to, static_cast<const bf16*>(run.values) + (size_t)row * d, 1.0f, d);
        }
    }
}

#define PARAMETERS(T) (const Run* runs, T* y, uint32_t d, uint32_t count)
KERNEL_OF_ELEMENTS(dequantise, THREADS, PARAMETERS, (runs, y, d, count))
