// y = x · rsqrt(mean(x²) + ε) ⊙ g.
//
// A team of 32, 128 or 256 threads has a row, and keeps it in registers between its sum and its scaling, so that it is
// read once. A block takes several rows for each time that it reads g, which it keeps in shared memory.
#include "element.cuh"

constexpr uint32_t THREADS = 256;
constexpr uint32_t KEPT = 4;  // packs that a thread keeps of a row; what is beyond a team's is read a second time

__device__ __forceinline__ float square_sum(const float* x, int n) {
    float sum = 0;
    for (int i = 0; i < n; i++) sum += x[i] * x[i];
    return sum;
}

// The sum over a team, to all its threads. Every thread of the block calls it.
__device__ __forceinline__ float team_sum(float x) {
    __shared__ float partial[THREADS / WARP];
    x = warp_sum(x);
    if (blockDim.x == WARP) return x;
    const uint32_t warp = (threadIdx.y * blockDim.x + threadIdx.x) / WARP;
    __syncthreads();
    if (threadIdx.x % WARP == 0) partial[warp] = x;
    __syncthreads();
    const uint32_t warps = blockDim.x / WARP;
    float sum = 0;
    for (uint32_t i = 0; i < warps; i++) sum += partial[threadIdx.y * warps + i];
    return sum;
}

template <int N>
__device__ __forceinline__ Pack<N> scaled(const Pack<N>& x, float r, const Pack<N>& g) {
    Pack<N> y;
#pragma unroll
    for (int i = 0; i < N; i++) y[i] = x[i] * r * g[i];
    return y;
}

template <int N, class T>
__device__ void norm_rows(const T* __restrict__ x, const T* __restrict__ g, T* __restrict__ y, uint32_t d, float eps,
                          uint32_t first, uint32_t end) {
    extern __shared__ uint4 shared[];
    T* scale = reinterpret_cast<T*>(shared);
    const uint32_t packs = d / N, team = blockDim.x, teams = blockDim.y;
    for (uint32_t i = threadIdx.y * team + threadIdx.x; i < packs; i += team * teams) {
        if constexpr (N == 1) {
            scale[i] = g[i];
        } else {
            shared[i] = reinterpret_cast<const uint4*>(g)[i];
        }
    }
    __syncthreads();
    for (uint32_t step = first; step < end; step += teams) {
        const uint32_t row = step + threadIdx.y;
        // A team without a row goes along, for the barriers' sake.
        const uint32_t own = row < end ? packs : 0;
        const T* from = x + (size_t)row * d;
        T* to = y + (size_t)row * d;
        Pack<N> kept[KEPT];
        float sum = 0;
#pragma unroll
        for (uint32_t k = 0; k < KEPT; k++) {
            const uint32_t i = threadIdx.x + k * team;
            if (i >= own) continue;
            kept[k] = load<N>(from, i);
            sum += square_sum(kept[k].x, N);
        }
        for (uint32_t i = threadIdx.x + KEPT * team; i < own; i += team) sum += square_sum(load<N>(from, i).x, N);
        const float r = rsqrtf(team_sum(sum) / d + eps);
#pragma unroll
        for (uint32_t k = 0; k < KEPT; k++) {
            const uint32_t i = threadIdx.x + k * team;
            if (i < own) store<N>(to, i, scaled(kept[k], r, load<N>(scale, i)));
        }
        for (uint32_t i = threadIdx.x + KEPT * team; i < own; i += team) {
            store<N>(to, i, scaled(load<N>(from, i), r, load<N>(scale, i)));
        }
    }
}

// x, y [bound, d], g [1, d]. Block i has `rows` rows from i · rows on.
template <class T>
__device__ void rms_norm(const T* __restrict__ x, const T* __restrict__ g, T* __restrict__ y, uint32_t d, float eps,
                         uint32_t rows, uint32_t bound, const uint32_t* live) {
    const uint32_t first = blockIdx.x * rows, there = true_rows(bound, live);
    if (first >= there) return;
    const uint32_t end = min(first + rows, there);
    if (is_packed<T>(d)) {
        norm_rows<PACK<T>>(x, g, y, d, eps, first, end);
    } else {
        norm_rows<1>(x, g, y, d, eps, first, end);
    }
}

#define PARAMETERS(T)                                                                                                  \
    (const T* x, const T* g, T* y, uint32_t d, float eps, uint32_t rows, uint32_t bound, const uint32_t* live)
KERNEL_OF_ELEMENTS(rms_norm, THREADS, PARAMETERS, (x, g, y, d, eps, rows, bound, live))
