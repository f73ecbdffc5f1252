// The rows of a product's operands.
#pragma once

#include "element.cuh"

// Rows of a matrix from `first` on, the matrix's last one standing for those behind it: what comes of them is not stored.
template <class T> struct Rows {
    const T* data;
    unsigned first, count, width;

    __device__ const T* operator()(unsigned row) const { return data + (size_t)min(first + row, count - 1) * width; }
};

// Rows of two matrices in turns, RUN of each: what meets in a gate is then in the same hands.
template <class T, unsigned RUN> struct GatedRows {
    Rows<T> w_0, w_1;

    __device__ const T* operator()(unsigned row) const {
        const unsigned of_each = row / (2 * RUN) * RUN + row % RUN;
        return row / RUN % 2 ? w_1(of_each) : w_0(of_each);
    }
};
