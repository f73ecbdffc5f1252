// Of y = x·r ⊙ g with r = rsqrt(mean(x²) + ε): dx += r·(dy ⊙ g) − x·r³·⟨dy ⊙ g, x⟩/d, and the parts of dg += Σ dy ⊙ x·r.
//
// A team of 32 to 256 threads has a row and keeps it in registers between its sums and what comes of them. The parts of dg
// add up in shared memory, where every thread has columns of its own, and leave a block as one row; `sum_rows` adds those.
#include "quad.cuh"

constexpr uint32_t THREADS = 256;
constexpr uint32_t KEPT = 4;  // quads that a thread keeps of a row; what is beyond a team's is read a second time

// The sums over a team, to all its threads. Every thread of the block calls it.
__device__ __forceinline__ float2 team_sum(float2 x) {
    __shared__ float2 partial[THREADS / WARP];
    x = {warp_sum(x.x), warp_sum(x.y)};
    if (blockDim.x == WARP) return x;
    const uint32_t warp = (threadIdx.y * blockDim.x + threadIdx.x) / WARP;
    __syncthreads();
    if (threadIdx.x % WARP == 0) partial[warp] = x;
    __syncthreads();
    const uint32_t warps = blockDim.x / WARP;
    float2 sum = {};
    for (uint32_t i = 0; i < warps; i++) {
        const float2 more = partial[threadIdx.y * warps + i];
        sum = {sum.x + more.x, sum.y + more.y};
    }
    return sum;
}

template <class T> struct Normed {
    const T *dy, *x, *g;
    T* dx;
    float* parts;  // [blocks, d]
    uint32_t d;
    float eps;
};

// Σ x² and Σ dy·g·x
template <int N>
__device__ __forceinline__ void add_products(float2& sums, const Pack<N>& x, const Pack<N>& dy, const Pack<N>& g) {
#pragma unroll
    for (int n = 0; n < N; n++) {
        sums.x += x[n] * x[n];
        sums.y += dy[n] * g[n] * x[n];
    }
}

// What a row becomes, quad by quad. `share` is of x·r, which is of the size of 1: r³ leaves the range of f32 where x is
// tiny.
template <int N, class T>
__device__ __forceinline__ void finish(T* dx, float* dg, uint32_t i, const Pack<N>& x, const Pack<N>& dy,
                                       const Pack<N>& g, float r, float share) {
    Pack<N> sum = load_quad<N>(dx, i), scale = load_quad<N>(dg, i);
#pragma unroll
    for (int n = 0; n < N; n++) {
        const float normed = x[n] * r;
        scale[n] += dy[n] * normed;
        sum[n] += r * (dy[n] * g[n] - normed * share);
    }
    store_quad<N>(dx, i, sum);
    store_quad<N>(dg, i, scale);
}

template <int N, class T> __device__ void rows_bwd(const Normed<T>& a, uint32_t first, uint32_t end) {
    extern __shared__ __align__(16) float shared[];
    const uint32_t d = a.d, quads = d / N, team = blockDim.x, teams = blockDim.y;
    float* const g = shared;
    float* const sums = shared + d;
    float* const dg = sums + threadIdx.y * d;
    const uint32_t thread = threadIdx.y * team + threadIdx.x;
    for (uint32_t i = thread; i < quads; i += THREADS) store_quad<N>(g, i, load_quad<N>(a.g, i));
    for (uint32_t i = thread; i < teams * d; i += THREADS) sums[i] = 0;
    __syncthreads();
    for (uint32_t step = first; step < end; step += teams) {
        const uint32_t row = step + threadIdx.y;
        // A team without a row goes along, for the barriers' sake.
        const uint32_t own = row < end ? quads : 0;
        const T *x = a.x + (size_t)row * d, *dy = a.dy + (size_t)row * d;
        T* dx = a.dx + (size_t)row * d;
        Pack<N> kept_x[KEPT], kept_dy[KEPT];
        float2 products = {};
#pragma unroll
        for (uint32_t k = 0; k < KEPT; k++) {
            const uint32_t i = threadIdx.x + k * team;
            if (i >= own) continue;
            kept_x[k] = load_quad<N>(x, i);
            kept_dy[k] = load_quad<N>(dy, i);
            add_products<N>(products, kept_x[k], kept_dy[k], load_quad<N>(g, i));
        }
        for (uint32_t i = threadIdx.x + KEPT * team; i < own; i += team) {
            add_products<N>(products, load_quad<N>(x, i), load_quad<N>(dy, i), load_quad<N>(g, i));
        }
        products = team_sum(products);
        const float r = rsqrtf(products.x / d + a.eps), share = products.y * r / d;
#pragma unroll
        for (uint32_t k = 0; k < KEPT; k++) {
            const uint32_t i = threadIdx.x + k * team;
            if (i < own) finish<N>(dx, dg, i, kept_x[k], kept_dy[k], load_quad<N>(g, i), r, share);
        }
        for (uint32_t i = threadIdx.x + KEPT * team; i < own; i += team) {
            finish<N>(dx, dg, i, load_quad<N>(x, i), load_quad<N>(dy, i), load_quad<N>(g, i), r, share);
        }
    }
    __syncthreads();
    for (uint32_t i = thread; i < d; i += THREADS) {
        float sum = 0;
        for (uint32_t other = 0; other < teams; other++) sum += sums[other * d + i];
        a.parts[(size_t)blockIdx.x * d + i] = sum;
    }
}

// dy, x, dx [bound, d], g [1, d]. Block i has `rows` rows from i · rows on; one without rows has a part of zeros.
template <class T>
__device__ void rms_norm_bwd(const Normed<T>& a, uint32_t rows, uint32_t bound, const uint32_t* live) {
    const uint32_t there = true_rows(bound, live), first = min(blockIdx.x * rows, there);
    const uint32_t end = min(first + rows, there);
    if (a.d % 4 == 0) {
        rows_bwd<4>(a, first, end);
    } else {
        rows_bwd<1>(a, first, end);
    }
}

#define PARAMETERS(T)                                                                                                  \
    (const T* dy, const T* x, const T* g, T* dx, float* parts, uint32_t d, float eps, uint32_t rows, uint32_t bound,   \
     const uint32_t* live)
KERNEL_OF_ELEMENTS(rms_norm_bwd, THREADS, PARAMETERS, ({dy, x, g, dx, parts, d, eps}, rows, bound, live))
