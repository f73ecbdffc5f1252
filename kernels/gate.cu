// h = gelu(a) ⊙ b, and backward: da = dh ⊙ b ⊙ gelu′(a), db = dh ⊙ gelu(a).
//
// gelu(a) = a·s with s = 1 / (1 + e⁻²ᵘ), u = √(2/π)·(a + 0.044715·a³), and its slope is s + a·s·(1 − s)·2u′.
#include "flat.cuh"

constexpr float TWO_ROOT = 1.5957691216057308f;
constexpr float CUBIC = 0.044715f;

__device__ __forceinline__ float share(float a) {
    return __fdividef(1.0f, 1.0f + expf(-TWO_ROOT * (a + CUBIC * a * a * a)));
}

__device__ __forceinline__ float slope(float a, float s) {
    // Farther out, s·(1 − s) is 0, and the square must not become infinite beside it.
    const float near = fminf(fmaxf(a, -30.0f), 30.0f);
    return s + near * (s * (1.0f - s)) * (TWO_ROOT * (1.0f + 3.0f * CUBIC * near * near));
}

template <class T>
__device__ void gate(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ h, uint32_t cols, uint32_t bound,
                     const uint32_t* live) {
    each_pack<T>((size_t)true_rows(bound, live) * cols, [&](auto width, size_t i) {
        constexpr int N = decltype(width)::value;
        const Pack<N> opening = load<N>(a, i), passing = load<N>(b, i);
        Pack<N> gated;
#pragma unroll
        for (int n = 0; n < N; n++) gated[n] = opening[n] * share(opening[n]) * passing[n];
        store<N>(h, i, gated);
    });
}

template <class T>
__device__ void gate_bwd(const T* __restrict__ dh, const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ da,
                         T* __restrict__ db, uint32_t cols, uint32_t bound, const uint32_t* live) {
    each_pack<T>((size_t)true_rows(bound, live) * cols, [&](auto width, size_t i) {
        constexpr int N = decltype(width)::value;
        const Pack<N> given = load<N>(dh, i), opening = load<N>(a, i), passing = load<N>(b, i);
        Pack<N> of_opening, of_passing;
#pragma unroll
        for (int n = 0; n < N; n++) {
            const float s = share(opening[n]);
            of_opening[n] = given[n] * passing[n] * slope(opening[n], s);
            of_passing[n] = given[n] * (opening[n] * s);
        }
        store<N>(da, i, of_opening);
        store<N>(db, i, of_passing);
    });
}

#define PARAMETERS(T) (const T* a, const T* b, T* h, uint32_t cols, uint32_t bound, const uint32_t* live)
KERNEL_OF_ELEMENTS(gate, FLAT_THREADS, PARAMETERS, (a, b, h, cols, bound, live))
#undef PARAMETERS
#define PARAMETERS(T)                                                                                                  \
    (const T* dh, const T* a, const T* b, T* da, T* db, uint32_t cols, uint32_t bound, const uint32_t* live)
KERNEL_OF_ELEMENTS(gate_bwd, FLAT_THREADS, PARAMETERS, (dh, a, b, da, db, cols, bound, live))
