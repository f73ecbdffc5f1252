// Sums in 64 bits.
#pragma once

#include "element.cuh"

__device__ __forceinline__ double warp_sum(double x) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}

// The sum over a block of WARPS warps, to its first thread, in one order on every run. All threads call it, once.
template <uint32_t WARPS> __device__ __forceinline__ double sum_of_block(double x) {
    __shared__ double partial[WARPS];
    x = warp_sum(x);
    if (threadIdx.x % WARP == 0) partial[threadIdx.x / WARP] = x;
    __syncthreads();
    double sum = 0;
    for (uint32_t warp = 0; warp < WARPS; warp++) sum += partial[warp];
    return sum;
}
