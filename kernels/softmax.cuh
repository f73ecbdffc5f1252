// The softmax of a long row, by a block.
#pragma once

#include "element.cuh"

// Σ exp(x − peak) of the numbers seen so far, of which `peak` is the largest.
struct Mass {
    float peak = -INFINITY, sum = 0;

    // exp(−∞ − −∞) is not a number, but the weight of nothing among nothing is none.
    __device__ __forceinline__ static float weight(float x, float peak) {
        return peak == -INFINITY && x == -INFINITY ? 0.0f : expf(x - peak);
    }

    template <int N> __device__ __forceinline__ void add(const Pack<N>& p) {
        float higher = peak;
#pragma unroll
        for (int n = 0; n < N; n++) higher = fmaxf(higher, p[n]);
        float more = 0;
#pragma unroll
        for (int n = 0; n < N; n++) more += weight(p[n], higher);
        sum = sum * weight(peak, higher) + more;
        peak = higher;
    }

    // That of all threads of the block, to each of them.
    template <uint32_t WARPS> __device__ __forceinline__ Mass of_block() const {
        __shared__ float partial[2][WARPS];
        Mass all;
        const float highest = warp_max(peak);
        if (threadIdx.x % WARP == 0) partial[0][threadIdx.x / WARP] = highest;
        __syncthreads();
        all.peak = partial[0][0];
        for (uint32_t warp = 1; warp < WARPS; warp++) all.peak = fmaxf(all.peak, partial[0][warp]);
        all.sum = block_sum(sum * weight(peak, all.peak), partial[1]);
        return all;
    }
};
