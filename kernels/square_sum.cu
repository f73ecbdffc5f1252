// Σ g² in 64 bits: a part for each block, in one order, from the `first` part on.
#include "double.cuh"

constexpr uint32_t WARPS = 8;
constexpr uint32_t THREADS = WARPS * WARP;
constexpr uint32_t QUADS = 16;  // of a thread

extern "C" __global__ void __launch_bounds__(THREADS)
    square_sum(const float* __restrict__ g, double* __restrict__ parts, uint32_t first, uint32_t length) {
    double sum = 0;
#pragma unroll 4
    for (uint32_t k = 0; k < QUADS; k++) {
        const uint32_t quad = (blockIdx.x * QUADS + k) * THREADS + threadIdx.x;
        if (quad < length / 4) {
            const float4 x = reinterpret_cast<const float4*>(g)[quad];
            sum += (double)x.x * x.x + (double)x.y * x.y + ((double)x.z * x.z + (double)x.w * x.w);
        }
    }
    if (blockIdx.x == 0 && threadIdx.x < length % 4) {
        const double x = g[length - 1 - threadIdx.x];
        sum += x * x;
    }
    sum = sum_of_block<WARPS>(sum);
    if (threadIdx.x == 0) parts[first + blockIdx.x] = sum;
}
