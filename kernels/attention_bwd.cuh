// What the backward kernels of attention share.
//
// A block owns some rows of one side, queries or keys, and all of the other side passes by. So every gradient has one
// owner, which adds it up in one order, and the weights, drawn again from the rows' saved sums, are nowhere but in
// registers and shared memory. The queries' kernel runs first, and leaves the keys' one two numbers of each query.
#pragma once

#include "attention.cuh"
#include "mask.cuh"

enum class Side { QUERIES, KEYS };

template <class T> struct AttentionBwd {
    const T *q, *k, *v;           // [n, h·e], [n', h·e], [n', h·e]
    const T *o, *d_o;             // [n, h·e]
    const float* log_sum;         // [n, h]
    float2* of_query;             // [h, n], log_sum in powers of two, and δ = ⟨do, o⟩
    T *dq, *dk, *dv;              // as q, k, v
    float* dbias;                 // [h, segments, tiles, buckets], each block's part of the table's gradient
    const uint32_t *rows, *cols;  // offsets of the segments of queries and of keys
    uint32_t n;

    __device__ __forceinline__ float2* query(uint32_t row) const { return of_query + (size_t)blockIdx.y * n + row; }
};

// The gradient of the bias, in shared memory: rows of sums by distance, each written by some of the threads, which come
// to one sum a bucket at the end.
template <int EDGE = 32> struct BiasGrad {
    BiasRow<EDGE> near;  // whose places the sums have
    float* sums;
    uint32_t rows;

    __device__ __forceinline__ float* row(uint32_t i) const { return sums + i * near.length(); }

    __device__ __forceinline__ void clear() const {
        for (uint32_t i = threadIdx.x; i < rows * near.length(); i += blockDim.x) sums[i] = 0;
    }

    // This block's part.
    template <class T> __device__ __forceinline__ static float* part(const Bias<T>& bias, float* dbias) {
        return dbias + (((size_t)blockIdx.y * gridDim.z + blockIdx.z) * gridDim.x + blockIdx.x) * bias.buckets;
    }
    // That of a block without rows.
    template <class T> __device__ __forceinline__ static void write_nothing(const Bias<T>& bias, float* dbias) {
        for (uint32_t b = threadIdx.x; b < bias.buckets; b += blockDim.x) part(bias, dbias)[b] = 0;
    }
    // The biases are not needed any more: buckets take their place.
    template <class T> __device__ __forceinline__ void write(const Bias<T>& bias, float* dbias) const {
        __syncthreads();
        near.buckets(bias, blockDim.x);
        __syncthreads();
        for (uint32_t b = threadIdx.x / WARP; b < bias.buckets; b += blockDim.x / WARP) {
            float sum = 0;
            for (int i = threadIdx.x % WARP; i < near.length(); i += WARP) {
                if (__float_as_uint(near.row[i]) != b) continue;
                for (uint32_t r = 0; r < rows; r++) sum += row(r)[i];
            }
            sum = warp_sum(sum);
            if (threadIdx.x % WARP == 0) part(bias, dbias)[b] = sum;
        }
    }
};
