// Rows of the machine's numbers beside rows of f32: four neighbours at a time, so that both are read and written in whole
// sectors, and single numbers where a row is not made of fours.
#pragma once

#include "element.cuh"

template <int N> __device__ __forceinline__ Pack<N> load_quad(const float* row, uint32_t i) {
    if constexpr (N == 1) {
        return {{row[i]}};
    } else {
        static_assert(N == 4, "a quad or a number");
        return load<4>(row, i);
    }
}
template <int N> __device__ __forceinline__ Pack<N> load_quad(const bf16* row, uint32_t i) {
    if constexpr (N == 1) {
        return {{widen(row[i])}};
    } else {
        static_assert(N == 4, "a quad or a number");
        const uint2 pairs = reinterpret_cast<const uint2*>(row)[i];
        const float2 low = widen_pair(pairs.x), high = widen_pair(pairs.y);
        return {{low.x, low.y, high.x, high.y}};
    }
}
template <int N> __device__ __forceinline__ void store_quad(float* row, uint32_t i, const Pack<N>& p) {
    store<N>(row, i, p);
}
template <int N> __device__ __forceinline__ void store_quad(bf16* row, uint32_t i, const Pack<N>& p) {
    if constexpr (N == 1) {
        row[i] = narrow<bf16>(p[0]);
    } else {
        // As one number: of two, the compiler makes two accesses.
        const uint64_t high = narrow_pair(p[2], p[3]);
        reinterpret_cast<uint64_t*>(row)[i] = high << 32 | narrow_pair(p[0], p[1]);
    }
}
