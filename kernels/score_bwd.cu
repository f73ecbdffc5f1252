// Backward through the scorer, s = ⟨p, w⟩, or ⟨p·r ⊙ g, w⟩ with r = rsqrt(mean(p²) + ε) where a scale is given, of the
// mean p of a segment's rows, or of its first row alone:
// dp = ds·(r·(w ⊙ g) − p·r³·⟨w ⊙ g, p⟩/d), dw += Σ ds·p·r ⊙ g, dg += Σ ds·p·r ⊙ w.
#include "pool.cuh"

// What a segment's gradients are made of besides its mean.
struct Slope {
    float ds, r, along;  // r³·⟨w ⊙ g, p⟩/d

    // Of thread 0's sums over the columns; `norm` of nothing is 1.
    __device__ __forceinline__ static Slope of(float ds, float squares, float products, uint32_t d, float eps,
                                               bool normed) {
        __shared__ float partial[2][POOL_WARPS];
        const float square = block_sum(squares, partial[0]), product = block_sum(products, partial[1]);
        const float r = normed ? rsqrtf(square / d + eps) : 1.0f;
        return {ds, r, normed ? r * r * r * product / d : 0.0f};
    }
};

template <int N, class T>
__device__ void one_segment(const T* x, const T* w, const T* g, T* dx, float* share, float ds, uint32_t d, float eps,
                            uint32_t first, uint32_t end) {
    extern __shared__ __align__(16) float pooled[];
    float squares = 0, products = 0;
    for (uint32_t chunk = 0; chunk * WARP < d / N; chunk++) {
        const Pack<N> mean = mean_of_chunk<N>(x, d, chunk, first, end);
        const uint32_t i = chunk * WARP + threadIdx.x;
        if (threadIdx.x >= WARP || i >= d / N) continue;
#pragma unroll
        for (int n = 0; n < N; n++) {
            const uint32_t col = i * N + n;
            pooled[col] = mean[n];
            squares += mean[n] * mean[n];
            products += mean[n] * widen(w[col]) * (g ? widen(g[col]) : 1.0f);
        }
    }
    const Slope slope = Slope::of(ds, squares, products, d, eps, g != nullptr);
    const float part = first == end ? 0.0f : 1.0f / (end - first);
    for (uint32_t col = threadIdx.x; col < d; col += POOL_THREADS) {
        const float p = pooled[col], weight = widen(w[col]) * (g ? widen(g[col]) : 1.0f);
        share[col] = ds * slope.r * p;
        pooled[col] = part * ds * (slope.r * weight - slope.along * p);
    }
    __syncthreads();
    for (uint32_t row = first + threadIdx.x / WARP; row < end; row += POOL_WARPS) {
        T* const to = dx + (size_t)row * d;
#pragma unroll 1
        for (uint32_t i = threadIdx.x % WARP; i < d / N; i += WARP) {
            Pack<N> sum = load<N>(to, i);
#pragma unroll
            for (int n = 0; n < N; n++) sum[n] += pooled[i * N + n];
            store<N>(to, i, sum);
        }
    }
}

// x, dx [n, d], w [1, d], g [1, d] or none, ds [s] → shares [s, d], ds·r·p. Of a segment's rows, the first `most`
// are pooled. A block a segment.
template <class T>
__device__ void score_bwd(const T* __restrict__ x, const uint32_t* __restrict__ offsets, const float* __restrict__ ds,
                          const T* __restrict__ w, const T* __restrict__ g, T* dx, float* shares, uint32_t d, float eps,
                          uint32_t most) {
    const uint32_t segment = blockIdx.x, first = offsets[segment];
    const uint32_t end = first + min(offsets[segment + 1] - first, most);
    float* const share = shares + (size_t)segment * d;
    if (is_packed<T>(d)) {
        one_segment<PACK<T>>(x, w, g, dx, share, ds[segment], d, eps, first, end);
    } else {
        one_segment<1>(x, w, g, dx, share, ds[segment], d, eps, first, end);
    }
}

#define PARAMETERS(T)                                                                                                  \
    (const T* x, const uint32_t* offsets, const float* ds, const T* w, const T* g, T* dx, float* shares, uint32_t d,       \
     float eps, uint32_t most)
KERNEL_OF_ELEMENTS(score_bwd, POOL_THREADS, PARAMETERS, (x, offsets, ds, w, g, dx, shares, d, eps, most))

constexpr uint32_t SUM_THREADS = 128;

// dw += Σ shares ⊙ g, dg += Σ shares ⊙ w, over the segments in order. A thread a column.
template <class T>
__device__ void score_bwd_sums(const float* __restrict__ shares, const T* __restrict__ w, const T* __restrict__ g,
                               float* dw, float* dg, uint32_t segments, uint32_t d) {
    const uint32_t col = blockIdx.x * SUM_THREADS + threadIdx.x;
    if (col >= d) return;
    float sum = 0;
#pragma unroll 8
    for (uint32_t segment = 0; segment < segments; segment++) sum += shares[(size_t)segment * d + col];
    dw[col] += g ? sum * widen(g[col]) : sum;
    if (g) dg[col] += sum * widen(w[col]);
}

#define SUM_PARAMETERS(T)                                                                                              \
    (const float* shares, const T* w, const T* g, float* dw, float* dg, uint32_t segments, uint32_t d)
KERNEL_OF_ELEMENTS(score_bwd_sums, SUM_THREADS, SUM_PARAMETERS, (shares, w, g, dw, dg, segments, d))
