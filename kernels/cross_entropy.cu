// log softmax(logits[i])[target[i]], and in place of the logits the gradient of −scale · Σ of them,
// scale · (softmax(logits[i]) − onehot(target[i])). A block a row, which it keeps in registers between its sum and its
// gradient: so every logit is read once and written once.
#include "softmax.cuh"

constexpr uint32_t THREADS = 512;
constexpr uint32_t WARPS = THREADS / WARP;
// Numbers that a block keeps, T5's vocabulary among them, in packs a thread; what is beyond is read a second time.
constexpr uint32_t KEPT_NUMBERS = 32768;
template <class T> constexpr uint32_t KEPT = KEPT_NUMBERS / (THREADS * PACK<T>);

// N neighbours as they are in memory, where bf16 takes half of the registers.
template <int N, class T> struct Raw {
    uint4 bits;
    __device__ __forceinline__ void load_from(const T* row, uint32_t i) { bits = ((const uint4*)row)[i]; }
    __device__ __forceinline__ Pack<N> widened() const { return unpack(bits, T{}); }
};
template <class T> struct Raw<1, T> {
    T number;
    __device__ __forceinline__ void load_from(const T* row, uint32_t i) { number = row[i]; }
    __device__ __forceinline__ Pack<1> widened() const { return {{widen(number)}}; }
};

// A row's way from logits to gradient.
struct Slope {
    float peak, factor;  // scale over the mass
    uint32_t target;
    float scale;

    template <int N> __device__ __forceinline__ Pack<N> of(Pack<N> logits, uint32_t i) const {
#pragma unroll
        for (int n = 0; n < N; n++) {
            logits[n] = expf(logits[n] - peak) * factor - (i * N + n == target ? scale : 0.0f);
        }
        return logits;
    }
};

template <int N, class T>
__device__ __forceinline__ void one_row(T* row, uint32_t target, float* found, uint32_t v, float scale) {
    const uint32_t packs = v / N;
    Raw<N, T> kept[KEPT<T>];
#pragma unroll
    for (uint32_t k = 0; k < KEPT<T>; k++) {
        const uint32_t i = threadIdx.x + k * THREADS;
        if (i < packs) kept[k].load_from(row, i);
    }
    Mass own;
#pragma unroll
    for (uint32_t k = 0; k < KEPT<T>; k++) {
        if (threadIdx.x + k * THREADS < packs) own.add(kept[k].widened());
    }
    for (uint32_t i = threadIdx.x + KEPT<T> * THREADS; i < packs; i += THREADS) own.add(load<N>(row, i));
    const float at_target = threadIdx.x == 0 ? widen(row[target]) : 0.0f;
    const Mass all = own.of_block<WARPS>();
    if (threadIdx.x == 0) *found = at_target - all.peak - logf(all.sum);

    const Slope slope = {all.peak, scale / all.sum, target, scale};
#pragma unroll
    for (uint32_t k = 0; k < KEPT<T>; k++) {
        const uint32_t i = threadIdx.x + k * THREADS;
        if (i < packs) store<N>(row, i, slope.of(kept[k].widened(), i));
    }
    for (uint32_t i = threadIdx.x + KEPT<T> * THREADS; i < packs; i += THREADS) {
        store<N>(row, i, slope.of(load<N>(row, i), i));
    }
}

// logits [bound, v], target [bound] → found [bound].
template <class T>
__device__ void cross_entropy(T* logits, const uint32_t* target, float* found, uint32_t v, float scale, uint32_t bound,
                              const uint32_t* live) {
    const uint32_t row = blockIdx.x;
    if (row >= true_rows(bound, live)) return;
    T* const own = logits + (size_t)row * v;
    if (is_packed<T>(v)) {
        one_row<PACK<T>>(own, target[row], found + row, v, scale);
    } else {
        one_row<1>(own, target[row], found + row, v, scale);
    }
}

#define PARAMETERS(T)                                                                                                  \
    (T * logits, const uint32_t* target, float* found, uint32_t v, float scale, uint32_t bound, const uint32_t* live)
KERNEL_OF_ELEMENTS(cross_entropy, THREADS, PARAMETERS, (logits, target, found, v, scale, bound, live))
