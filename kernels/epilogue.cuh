// What becomes of a product before it is stored.
#pragma once

#include "element.cuh"
#include "mma.cuh"

// y = …
struct Store {
    static constexpr bool READS_Y = false;
    __device__ static float of(float product, float) { return product; }
};

// y += …, rounded once.
struct Add {
    static constexpr bool READS_Y = true;
    __device__ static float of(float product, float y) { return y + product; }
};

// y = max(…, 0)
struct Relu {
    static constexpr bool READS_Y = false;
    __device__ static float of(float product, float) { return fmaxf(product, 0.0f); }
};

// gelu(a) = a/2 · (1 + tanh u) = a / (1 + e⁻²ᵘ), u = √(2/π)·(a + 0.044715·a³)
__device__ __forceinline__ float gelu(float a) {
    constexpr float MINUS_TWO_ROOT = -1.5957691216057308f;
    return __fdividef(a, 1.0f + expf(MINUS_TWO_ROOT * (a + 0.044715f * a * a * a)));
}

// A row-major matrix that is written, of which `rows` are there; `cols` is a multiple of 8.
struct Output {
    bf16* data;
    uint32_t rows, cols;

    __device__ bool has(uint32_t row, uint32_t col) const { return row < rows && col < cols; }
    __device__ uint4* piece(uint32_t row, uint32_t col) const {
        return reinterpret_cast<uint4*>(data + (size_t)row * cols + col);
    }
};

// A warp stores a block of 16 × 16, of which each lane has a piece of 16 bytes.
template <class Epilogue>
__device__ __forceinline__ void store_block(const Output& y, uint32_t row, uint32_t col, const Sum& product) {
    row += piece_row();
    col += piece_col();
    const bool there = y.has(row, col);
    Left before = {};
    if constexpr (Epilogue::READS_Y) {
        if (there) {
            const uint4 piece = *y.piece(row, col);
            before = {piece.x, piece.y, piece.z, piece.w};
        }
        transpose_quad(before.r);
    }
    Left after;
#pragma unroll
    for (uint32_t quarter = 0; quarter < 4; quarter++) {
        const float* pair = &product.half[quarter / 2][quarter % 2 * 2];
        const float2 was = widen_pair(before.r[quarter]);
        after.r[quarter] = narrow_pair(Epilogue::of(pair[0], was.x), Epilogue::of(pair[1], was.y));
    }
    transpose_quad(after.r);
    if (there) *y.piece(row, col) = make_uint4(after.r[0], after.r[1], after.r[2], after.r[3]);
}

// Two or four neighbours of a row, in one access.
__device__ __forceinline__ void store_two(float* to, float low, float high) {
    *reinterpret_cast<float2*>(to) = make_float2(low, high);
}
__device__ __forceinline__ void store_two(bf16* to, float low, float high) {
    *reinterpret_cast<uint32_t*>(to) = narrow_pair(low, high);
}
__device__ __forceinline__ float4 load_four(const float* from) { return *reinterpret_cast<const float4*>(from); }
__device__ __forceinline__ float4 load_four(const bf16* from) {
    const uint2 pairs = *reinterpret_cast<const uint2*>(from);
    const float2 low = widen_pair(pairs.x), high = widen_pair(pairs.y);
    return {low.x, low.y, high.x, high.y};
}
__device__ __forceinline__ void store_four(float* to, float4 x) { *reinterpret_cast<float4*>(to) = x; }
__device__ __forceinline__ void store_four(bf16* to, float4 x) {
    // As one number: of two, the compiler makes two accesses.
    const uint64_t high = narrow_pair(x.z, x.w);
    *reinterpret_cast<uint64_t*>(to) = high << 32 | narrow_pair(x.x, x.y);
}

template <class Epilogue, class T> __device__ __forceinline__ void finish_four(T* y, float4 product) {
    const float4 was = Epilogue::READS_Y ? load_four(y) : float4{};
    const float4 now = {
        Epilogue::of(product.x, was.x), Epilogue::of(product.y, was.y), Epilogue::of(product.z, was.z),
        Epilogue::of(product.w, was.w)};
    store_four(y, now);
}

// Four neighbours from `col` on, of a row of any width: those that are there.
template <class Epilogue, class T>
__device__ __forceinline__ void store_up_to_four(T* row, uint32_t col, uint32_t width, float4 products) {
    if (width % 4 == 0) {
        if (col < width) finish_four<Epilogue>(row + col, products);
        return;
    }
    const float product[4] = {products.x, products.y, products.z, products.w};
#pragma unroll
    for (uint32_t j = 0; j < 4; j++) {
        if (col + j >= width) break;
        T& to = row[col + j];
        to = narrow<T>(Epilogue::of(product[j], Epilogue::READS_Y ? widen(to) : 0.0f));
    }
}
