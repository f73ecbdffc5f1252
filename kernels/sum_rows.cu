// y[c] += Σ_r x[r, c], in one order: the second half of sums that blocks made parts of. x [rows, cols], y [cols].
//
// A block has 32 columns. Every warp adds up every WARPS-th row, and the first one their sums, in order.
#include "element.cuh"

constexpr uint32_t WARPS = 8;

extern "C" __global__ void __launch_bounds__(WARP* WARPS)
    sum_rows(const float* __restrict__ x, float* __restrict__ y, uint32_t rows, uint32_t cols) {
    __shared__ float sums[WARPS][WARP];
    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const size_t col = (size_t)blockIdx.x * WARP + lane;
    float sum = 0;
    if (col < cols) {
#pragma unroll 4
        for (uint32_t row = warp; row < rows; row += WARPS) sum += x[(size_t)row * cols + col];
    }
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || col >= cols) return;
    for (uint32_t other = 1; other < WARPS; other++) sum += sums[other][lane];
    y[col] += sum;
}
