// The rows of a product's operands.
#pragma once

#include "element.cuh"

// Rows of a matrix from `first` on. Where a reader does not ask which are there, the matrix's last row stands for those
// behind it: what comes of them is not stored.
template <class T> struct Rows {
    const T* data;
    uint32_t first, count, width;

    __device__ bool has(uint32_t row) const { return first + row < count; }
    __device__ const T* operator()(uint32_t row) const { return data + (size_t)min(first + row, count - 1) * width; }
};

// Columns of a matrix from `first` on: the same of its transpose, whose terms are the matrix's rows.
template <class T> struct Columns {
    const T* data;
    uint32_t first, width;

    __device__ bool has(uint32_t col) const { return first + col < width; }
    // From `col` on, in the first of the rows; `many` neighbours, of which the width is a multiple.
    __device__ const T* operator()(uint32_t col, uint32_t many) const { return data + min(first + col, width - many); }
};

// Rows of two matrices in turns, RUN of each: what meets in a gate is then in the same hands.
template <class T, uint32_t RUN> struct GatedRows {
    Rows<T> w_0, w_1;

    __device__ static uint32_t of_each(uint32_t row) { return row / (2 * RUN) * RUN + row % RUN; }
    __device__ bool has(uint32_t row) const { return w_0.has(of_each(row)); }
    __device__ const T* operator()(uint32_t row) const {
        return row / RUN % 2 ? w_1(of_each(row)) : w_0(of_each(row));
    }
};
