// y += x.
#include "flat.cuh"

template <class T>
__device__ void add(const T* __restrict__ x, T* __restrict__ y, uint32_t cols, uint32_t bound, const uint32_t* live) {
    each_pack<T>((size_t)true_rows(bound, live) * cols, [&](auto width, size_t i) {
        constexpr int N = decltype(width)::value;
        const Pack<N> more = load<N>(x, i);
        Pack<N> sum = load<N>(y, i);
#pragma unroll
        for (int n = 0; n < N; n++) sum[n] += more[n];
        store<N>(y, i, sum);
    });
}

#define PARAMETERS(T) (const T* x, T* y, uint32_t cols, uint32_t bound, const uint32_t* live)
KERNEL_OF_ELEMENTS(add, FLAT_THREADS, PARAMETERS, (x, y, cols, bound, live))
