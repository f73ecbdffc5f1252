// log softmax(logits[i])[target[i]], with every logit read once. A block a row.
#include "element.cuh"

constexpr uint32_t THREADS = 256;
constexpr uint32_t WARPS = THREADS / WARP;

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
};

template <int N, class T> __device__ Mass mass_of(const T* row, uint32_t v) {
    Mass mass;
#pragma unroll 2
    for (uint32_t i = threadIdx.x; i < v / N; i += THREADS) mass.add(load<N>(row, i));
    return mass;
}

__device__ __forceinline__ float block_max(float x, float* partial) {
    x = warp_max(x);
    if (threadIdx.x % WARP == 0) partial[threadIdx.x / WARP] = x;
    __syncthreads();
    float peak = partial[0];
    for (uint32_t warp = 1; warp < WARPS; warp++) peak = fmaxf(peak, partial[warp]);
    return peak;
}

// logits [bound, v], target [bound] → found [bound].
template <class T>
__device__ void log_prob(const T* __restrict__ logits, const uint32_t* __restrict__ target, float* __restrict__ found,
                         uint32_t v, uint32_t bound, const uint32_t* live) {
    __shared__ float partial[2][WARPS];
    if (blockIdx.x >= true_rows(bound, live)) return;
    const T* row = logits + (size_t)blockIdx.x * v;
    const Mass mass = is_packed<T>(v) ? mass_of<PACK<T>>(row, v) : mass_of<1>(row, v);
    const float peak = block_max(mass.peak, partial[0]);
    const float sum = block_sum(mass.sum * Mass::weight(mass.peak, peak), partial[1]);
    if (threadIdx.x == 0) found[blockIdx.x] = widen(row[target[blockIdx.x]]) - peak - logf(sum);
}

#define PARAMETERS(T)                                                                                                  \
    (const T* logits, const uint32_t* target, float* found, uint32_t v, uint32_t bound, const uint32_t* live)
KERNEL_OF_ELEMENTS(log_prob, THREADS, PARAMETERS, (logits, target, found, v, bound, live))
