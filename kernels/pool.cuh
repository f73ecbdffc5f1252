// The mean of a segment's rows, a chunk of a warp's width of packs at a time.
#pragma once

#include "element.cuh"

constexpr uint32_t POOL_THREADS = 512;
constexpr uint32_t POOL_WARPS = POOL_THREADS / WARP;

// The mean of rows first .. end in chunk `chunk` of their columns, a pack a lane, to the block's first warp; zeros of
// no rows. Every warp adds up every POOL_WARPS-th row, and the first one their sums, in order.
template <int N, class T>
__device__ Pack<N> mean_of_chunk(const T* __restrict__ x, uint32_t d, uint32_t chunk, uint32_t first, uint32_t end) {
    __shared__ float sums[N][POOL_WARPS][WARP];
    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, i = chunk * WARP + lane;
    Pack<N> sum{};
    if (i < d / N) {
#pragma unroll 4
        for (uint32_t row = first + warp; row < end; row += POOL_WARPS) {
            const Pack<N> p = load<N>(x + (size_t)row * d, i);
#pragma unroll
            for (int n = 0; n < N; n++) sum[n] += p[n];
        }
    }
#pragma unroll
    for (int n = 0; n < N; n++) sums[n][warp][lane] = sum[n];
    __syncthreads();
    if (warp == 0) {
        const float share = first == end ? 0.0f : 1.0f / (end - first);
#pragma unroll
        for (int n = 0; n < N; n++) {
            for (uint32_t other = 1; other < POOL_WARPS; other++) sum[n] += sums[n][other][lane];
            sum[n] *= share;
        }
    }
    __syncthreads();
    return sum;
}
