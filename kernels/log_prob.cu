// log softmax(logits[i])[target[i]], with every logit read once. A block a row.
#include "softmax.cuh"

constexpr uint32_t THREADS = 256;
constexpr uint32_t WARPS = THREADS / WARP;

template <int N, class T> __device__ Mass mass_of(const T* row, uint32_t v) {
    Mass mass;
#pragma unroll 2
    for (uint32_t i = threadIdx.x; i < v / N; i += THREADS) mass.add(load<N>(row, i));
    return mass;
}

// logits [bound, v], target [bound] → found [bound].
template <class T>
__device__ void log_prob(const T* __restrict__ logits, const uint32_t* __restrict__ target, float* __restrict__ found,
                         uint32_t v, uint32_t bound, const uint32_t* live) {
    if (blockIdx.x >= true_rows(bound, live)) return;
    const T* row = logits + (size_t)blockIdx.x * v;
    const Mass own = is_packed<T>(v) ? mass_of<PACK<T>>(row, v) : mass_of<1>(row, v);
    const Mass all = own.of_block<WARPS>();
    if (threadIdx.x == 0) found[blockIdx.x] = widen(row[target[blockIdx.x]]) - all.peak - logf(all.sum);
}

#define PARAMETERS(T)                                                                                                  \
    (const T* logits, const uint32_t* target, float* found, uint32_t v, uint32_t bound, const uint32_t* live)
KERNEL_OF_ELEMENTS(log_prob, THREADS, PARAMETERS, (logits, target, found, v, bound, live))
