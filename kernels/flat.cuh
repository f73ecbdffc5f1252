// Passes over whole matrices as one run of numbers: a thread has a pack, and whoever has the last, broken one has its
// numbers one by one.
#pragma once

#include "element.cuh"

constexpr uint32_t FLAT_THREADS = 256;

// A number that the compiler knows.
template <int N> struct Int {
    static constexpr int value = N;
};

// Calls `f(Int<N>, i)` for pack `i` of N numbers.
template <class T, class F> __device__ __forceinline__ void each_pack(size_t length, F f) {
    const size_t pack = (size_t)blockIdx.x * FLAT_THREADS + threadIdx.x, first = pack * PACK<T>;
    if (first + PACK<T> <= length) {
        f(Int<PACK<T>>{}, pack);
    } else {
        for (size_t i = first; i < length; i++) f(Int<1>{}, i);
    }
}
