// One score a segment: ⟨pool(x), w⟩, or ⟨RMSNorm(pool(x)), w⟩ where a scale is given, and its prior where there is one. A
// block a segment.
#include "pool.cuh"

constexpr uint32_t FIRST_THREADS = 128;  // one row keeps no more of them busy

// What a score is made of: Σ p², and Σ p ⊙ g ⊙ w, from which the norm divides out at the end.
struct Sums {
    float squares, products;

    template <int N, class T>
    __device__ __forceinline__ void add(const Pack<N>& pooled, const T* w, const T* g, uint32_t i) {
        const Pack<N> weight = load<N>(w, i);
        Pack<N> scale;
        if (g) scale = load<N>(g, i);
#pragma unroll
        for (int n = 0; n < N; n++) {
            squares += pooled[n] * pooled[n];
            products += pooled[n] * weight[n] * (g ? scale[n] : 1.0f);
        }
    }

    // To thread 0, of the sums of all threads.
    __device__ __forceinline__ float score(uint32_t d, float eps, bool normed) {
        __shared__ float partial[2][POOL_THREADS / WARP];
        const float square = block_sum(squares, partial[0]), product = block_sum(products, partial[1]);
        return normed ? product * rsqrtf(square / d + eps) : product;
    }
};

template <int N, class T>
__device__ Sums sums_of_first(const T* x, const T* w, const T* g, uint32_t d, uint32_t first, uint32_t end) {
    Sums sums{0, 0};
    if (first == end) return sums;
    for (uint32_t i = threadIdx.x; i < d / N; i += FIRST_THREADS) sums.add(load<N>(x + (size_t)first * d, i), w, g, i);
    return sums;
}

template <int N, class T>
__device__ Sums sums_of_mean(const T* x, const T* w, const T* g, uint32_t d, uint32_t first, uint32_t end) {
    Sums sums{0, 0};
    for (uint32_t chunk = 0; chunk * WARP < d / N; chunk++) {
        const Pack<N> mean = mean_of_chunk<N>(x, d, chunk, first, end);
        const uint32_t i = chunk * WARP + threadIdx.x;
        if (threadIdx.x < WARP && i < d / N) sums.add(mean, w, g, i);
    }
    return sums;
}

// x [n, d], w [1, d], g [1, d] or none, prior [count] or none → s [count].
template <class T>
__device__ void score_first(const T* __restrict__ x, const uint32_t* __restrict__ offsets, const T* __restrict__ w,
                            const T* __restrict__ g, const float* __restrict__ prior, float* __restrict__ s, uint32_t d,
                            float eps) {
    const uint32_t first = offsets[blockIdx.x], end = offsets[blockIdx.x + 1];
    Sums sums = is_packed<T>(d) ? sums_of_first<PACK<T>>(x, w, g, d, first, end)
                                : sums_of_first<1>(x, w, g, d, first, end);
    const float score = sums.score(d, eps, g != nullptr);
    if (threadIdx.x == 0) s[blockIdx.x] = prior ? score + prior[blockIdx.x] : score;
}

template <class T>
__device__ void score_mean(const T* __restrict__ x, const uint32_t* __restrict__ offsets, const T* __restrict__ w,
                           const T* __restrict__ g, const float* __restrict__ prior, float* __restrict__ s, uint32_t d,
                           float eps) {
    const uint32_t first = offsets[blockIdx.x], end = offsets[blockIdx.x + 1];
    Sums sums = is_packed<T>(d) ? sums_of_mean<PACK<T>>(x, w, g, d, first, end)
                                : sums_of_mean<1>(x, w, g, d, first, end);
    const float score = sums.score(d, eps, g != nullptr);
    if (threadIdx.x == 0) s[blockIdx.x] = prior ? score + prior[blockIdx.x] : score;
}

#define PARAMETERS(T)                                                                                                  \
    (const T* x, const uint32_t* offsets, const T* w, const T* g, const float* prior, float* s, uint32_t d, float eps)
KERNEL_OF_ELEMENTS(score_first, FIRST_THREADS, PARAMETERS, (x, offsets, w, g, prior, s, d, eps))
KERNEL_OF_ELEMENTS(score_mean, POOL_THREADS, PARAMETERS, (x, offsets, w, g, prior, s, d, eps))
