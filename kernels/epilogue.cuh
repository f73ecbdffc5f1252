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
    return a / (1.0f + expf(MINUS_TWO_ROOT * (a + 0.044715f * a * a * a)));
}

// A row-major matrix that is written, of which `rows` are there; `cols` is a multiple of 8.
struct Output {
    bf16* data;
    unsigned rows, cols;

    __device__ bool has(unsigned row, unsigned col) const { return row < rows && col < cols; }
    __device__ uint4* piece(unsigned row, unsigned col) const {
        return reinterpret_cast<uint4*>(data + (size_t)row * cols + col);
    }
};

// A warp stores a block of 16 × 16, of which each lane has a piece of 16 bytes.
template <class Epilogue>
__device__ __forceinline__ void store_block(const Output& y, unsigned row, unsigned col, const Sum& product) {
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
    for (unsigned quarter = 0; quarter < 4; quarter++) {
        const float* pair = &product.half[quarter / 2][quarter % 2 * 2];
        const float2 was = unpack(before.r[quarter]);
        after.r[quarter] = pack(Epilogue::of(pair[0], was.x), Epilogue::of(pair[1], was.y));
    }
    transpose_quad(after.r);
    if (there) *y.piece(row, col) = make_uint4(after.r[0], after.r[1], after.r[2], after.r[3]);
}
