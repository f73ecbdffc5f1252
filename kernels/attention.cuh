// What the attention kernels share: segments, a softmax in powers of two, and T5's bias by distance.
#pragma once

#include <math.h>

#include "element.cuh"

constexpr float MINUS_INFINITY = -INFINITY;
// Logits are counted in powers of two, so that a weight is one instruction of the hardware.
constexpr float LOG2_E = 1.44269504f;
constexpr float LN_2 = 0.693147181f;

// 2^x; 0 for −∞.
__device__ __forceinline__ float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// What turns a sum of weighted values into their mean: 0 for a row without keys; NaN stays what it is.
__device__ __forceinline__ float reciprocal(float mass) { return mass > 0.0f ? __fdividef(1.0f, mass) : mass; }

// The natural logarithm of the sum of exponentials, of which `mass` is relative to 2^peak.
__device__ __forceinline__ float log_sum(float peak, float mass) { return (peak + __log2f(mass)) * LN_2; }

// A number that is the same in all lanes, said in a way that lets the compiler keep it once a warp and not once a lane.
__device__ __forceinline__ uint32_t uniform(uint32_t x) { return __shfl_sync(ALL_LANES, x, 0); }

// Rows `first .. first + count` of a packed matrix.
struct Span {
    uint32_t first, count;
};

__device__ __forceinline__ Span segment(const uint32_t* offsets, uint32_t i) {
    const uint32_t first = uniform(offsets[i]);
    return {first, uniform(offsets[i + 1]) - first};
}

// What every attention kernel is given, but for what is its own.
template <class T> struct Attention {
    const T *q, *k, *v;           // [n, h·e], [n', h·e], [n', h·e]
    T* o;                         // [n, h·e]
    float* log_sum;               // [n, h], or null
    const uint32_t *rows, *cols;  // offsets of the segments of queries and of keys
};

// T5's bias of one head by distance, key − query.
template <class T> struct Bias {
    const T* table;          // [buckets, h]; null where there is no bias
    const uint16_t* bucket;  // [2·reach + 1], of the distances −reach .. reach
    uint32_t buckets, reach; // distances from the reach on share a bucket
    uint32_t heads, head;

    __device__ __forceinline__ uint32_t bucket_of(int distance) const {
        const int far = reach;
        return bucket[min(max(distance, -far), far) + far];
    }
    __device__ __forceinline__ float of_bucket(uint32_t b) const { return widen(table[b * heads + head]) * LOG2_E; }
};

// The same in shared memory, for tiles of at most EDGE queries and EDGE keys. A tile farther from the diagonal than
// anything changes is taken for one that lies `SPREAD` beyond the reach: so the row has an end.
template <int EDGE = 32> struct BiasRow {
    static constexpr int SPREAD = EDGE - 1;  // from the distance of a tile's corner to that of any of its elements

    float* row;
    int reach;  // 0 without a bias

    __device__ __forceinline__ int length() const { return 2 * (reach + 2 * SPREAD) + 1; }

    // Where a tile's first query and first key are; its neighbours lie beside it.
    __device__ __forceinline__ int place(int key, int query) const {
        const int far = reach + SPREAD;
        return min(max(key - query, -far), far) + far + SPREAD;
    }
    __device__ __forceinline__ const float* corner(int key, int query) const { return row + place(key, query); }

    // `begin`, a barrier, `finish`, and another barrier fill the row. In between, it holds buckets, and what is behind
    // it the bias of each, so that a block waits for global memory once and not twice.
    template <class T> __device__ __forceinline__ void begin(const Bias<T>& bias, uint32_t threads) const {
        if (bias.table == nullptr) return;
        for (uint32_t b = threadIdx.x; b < bias.buckets; b += threads) row[length() + b] = bias.of_bucket(b);
        buckets(bias, threads);
    }
    template <class T> __device__ __forceinline__ void buckets(const Bias<T>& bias, uint32_t threads) const {
        for (int i = threadIdx.x; i < length(); i += threads) {
            row[i] = __uint_as_float(bias.bucket_of(i - reach - 2 * SPREAD));
        }
    }
    template <class T> __device__ __forceinline__ void finish(const Bias<T>& bias, uint32_t threads) const {
        for (int i = threadIdx.x; i < length(); i += threads) {
            row[i] = bias.table == nullptr ? 0.0f : row[length() + __float_as_uint(row[i])];
        }
    }
};
