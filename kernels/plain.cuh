// x·wᵀ in f32 arithmetic, of any widths: for f32, which tensor cores would shorten, and for bf16 whose rows are not made
// of 16 bytes.
//
// A block makes a tile of ROWS × 64 with 8 × 16 threads. Slices of the inner dimension lie in shared memory term by term,
// so that a thread has what it multiplies side by side; the next slice is on its way in registers meanwhile.
#pragma once

#include "element.cuh"

using f32 = float;

constexpr unsigned PLAIN_COLS = 64, PLAIN_SLICE = 16, PLAIN_THREADS = 128;
// Rows and columns of a thread's part.
template <unsigned ROWS> constexpr unsigned PLAIN_HEIGHT = ROWS / 8;
constexpr unsigned PLAIN_WIDTH = 4;

template <unsigned ROWS> struct PlainSums {
    float at[PLAIN_HEIGHT<ROWS>][PLAIN_WIDTH];

    __device__ static unsigned first_row() { return threadIdx.x / 16 * PLAIN_HEIGHT<ROWS>; }
    __device__ static unsigned first_col() { return threadIdx.x % 16 * PLAIN_WIDTH; }
};

// A slice of one operand. Four more columns than there are rows: then eight terms of four rows lie in 32 banks.
template <unsigned ROWS> struct PlainSlice {
    float at[PLAIN_SLICE][ROWS + 4];
};

// What a thread brings of each slice: a term of each of several rows, of two groups of eight terms.
template <class T, unsigned ROWS> struct PlainCopier {
    static constexpr unsigned APART = PLAIN_THREADS / 8, PARTS = (ROWS + APART - 1) / APART, GROUPS = PLAIN_SLICE / 8;
    const T* from[PARTS];
    float held[PARTS][GROUPS];

    template <class Row> __device__ __forceinline__ explicit PlainCopier(Row row) {
#pragma unroll
        for (unsigned part = 0; part < PARTS; part++) from[part] = row(part * APART + threadIdx.x / 8);
    }

    __device__ static bool has(unsigned part) { return ROWS % APART == 0 || part * APART + threadIdx.x / 8 < ROWS; }

    __device__ __forceinline__ void load(unsigned first, unsigned inner) {
#pragma unroll
        for (unsigned part = 0; part < PARTS; part++) {
#pragma unroll
            for (unsigned group = 0; group < GROUPS; group++) {
                const unsigned term = first + group * 8 + threadIdx.x % 8;
                held[part][group] = has(part) && term < inner ? widen(from[part][term]) : 0.0f;
            }
        }
    }

    __device__ __forceinline__ void store(PlainSlice<ROWS>& to) const {
#pragma unroll
        for (unsigned part = 0; part < PARTS; part++) {
#pragma unroll
            for (unsigned group = 0; group < GROUPS; group++) {
                const unsigned row = part * APART + threadIdx.x / 8;
                if (has(part)) to.at[group * 8 + threadIdx.x % 8][row] = held[part][group];
            }
        }
    }
};

template <unsigned ROWS>
__device__ __forceinline__ void plain_multiply(
    PlainSums<ROWS>& sums, const PlainSlice<ROWS>& xs, const PlainSlice<PLAIN_COLS>& ws
) {
#pragma unroll
    for (unsigned term = 0; term < PLAIN_SLICE; term++) {
        float x[PLAIN_HEIGHT<ROWS>], w[PLAIN_WIDTH];
#pragma unroll
        for (unsigned i = 0; i < PLAIN_HEIGHT<ROWS>; i++) x[i] = xs.at[term][sums.first_row() + i];
#pragma unroll
        for (unsigned j = 0; j < PLAIN_WIDTH; j++) w[j] = ws.at[term][sums.first_col() + j];
#pragma unroll
        for (unsigned i = 0; i < PLAIN_HEIGHT<ROWS>; i++) {
#pragma unroll
            for (unsigned j = 0; j < PLAIN_WIDTH; j++) sums.at[i][j] = fmaf(x[i], w[j], sums.at[i][j]);
        }
    }
}

// The sums of the tile whose operands' rows are in the memory that `x_row` and `w_row` name, `inner` numbers each.
template <class T, unsigned ROWS, class XRow, class WRow>
__device__ __forceinline__ void plain_product(PlainSums<ROWS>& sums, XRow x_row, WRow w_row, unsigned inner) {
    __shared__ __align__(16) PlainSlice<ROWS> xs[2];
    __shared__ __align__(16) PlainSlice<PLAIN_COLS> ws[2];
    PlainCopier<T, ROWS> x(x_row);
    PlainCopier<T, PLAIN_COLS> w(w_row);
    x.load(0, inner);
    w.load(0, inner);
    unsigned now = 0;
    for (unsigned first = 0; first < inner; first += PLAIN_SLICE) {
        x.store(xs[now]);
        w.store(ws[now]);
        // One barrier a slice: whoever writes the other buffer next has passed it, so that all have left that buffer.
        __syncthreads();
        x.load(first + PLAIN_SLICE, inner);
        w.load(first + PLAIN_SLICE, inner);
        plain_multiply(sums, xs[now], ws[now]);
        now = 1 - now;
    }
}

// Calls `f(row, col, sum)` for each of a thread's sums, with its place in the tile.
template <unsigned ROWS, class F> __device__ __forceinline__ void each_number(const PlainSums<ROWS>& sums, F f) {
#pragma unroll
    for (unsigned i = 0; i < PLAIN_HEIGHT<ROWS>; i++) {
#pragma unroll
        for (unsigned j = 0; j < PLAIN_WIDTH; j++) f(sums.first_row() + i, sums.first_col() + j, sums.at[i][j]);
    }
}
