// x·wᵀ in f32 arithmetic, of any widths: for f32, which tensor cores would shorten, and for bf16 whose rows are not made
// of 16 bytes.
//
// A block makes a tile of ROWS × 64 with 8 × 16 threads. Slices of the inner dimension lie in shared memory term by term,
// so that a thread has what it multiplies side by side; the next slice is on its way in registers meanwhile.
#pragma once

#include "element.cuh"
#include "operand.cuh"

using f32 = float;

constexpr uint32_t PLAIN_COLS = 64, PLAIN_SLICE = 16, PLAIN_THREADS = 128;
// Blocks that a multiprocessor is to hold, for the compiler's choice of registers.
constexpr uint32_t PLAIN_RESIDENT = 4;
// Rows and columns of a thread's part.
template <uint32_t ROWS> constexpr uint32_t PLAIN_HEIGHT = ROWS / 8;
constexpr uint32_t PLAIN_WIDTH = 4;

template <uint32_t ROWS> struct PlainSums {
    float at[PLAIN_HEIGHT<ROWS>][PLAIN_WIDTH];

    __device__ static uint32_t first_row() { return threadIdx.x / 16 * PLAIN_HEIGHT<ROWS>; }
    __device__ static uint32_t first_col() { return threadIdx.x % 16 * PLAIN_WIDTH; }
};

// A slice of one operand. Four more columns than there are rows: then eight terms of four rows lie in 32 banks.
template <uint32_t ROWS> struct PlainSlice {
    float at[PLAIN_SLICE][ROWS + 4];
};

// What a thread brings of each slice: a term of each of several rows, of two groups of eight terms; zeros of rows that
// are not there.
template <class T, uint32_t ROWS, class Source> struct PlainCopier {
    static constexpr uint32_t APART = PLAIN_THREADS / 8, PARTS = (ROWS + APART - 1) / APART, GROUPS = PLAIN_SLICE / 8;
    const T* from[PARTS];
    bool there[PARTS];
    float held[PARTS][GROUPS];

    __device__ __forceinline__ explicit PlainCopier(Source row) {
#pragma unroll
        for (uint32_t part = 0; part < PARTS; part++) {
            from[part] = row(row_of(part));
            there[part] = row.has(row_of(part)) && fits(part);
        }
    }

    __device__ static uint32_t row_of(uint32_t part) { return part * APART + threadIdx.x / 8; }
    __device__ static bool fits(uint32_t part) { return ROWS % APART == 0 || row_of(part) < ROWS; }

    __device__ __forceinline__ void load(uint32_t first, uint32_t inner) {
#pragma unroll
        for (uint32_t part = 0; part < PARTS; part++) {
#pragma unroll
            for (uint32_t group = 0; group < GROUPS; group++) {
                const uint32_t term = first + group * 8 + threadIdx.x % 8;
                held[part][group] = there[part] && term < inner ? widen(from[part][term]) : 0.0f;
            }
        }
    }

    __device__ __forceinline__ void store(PlainSlice<ROWS>& to) const {
#pragma unroll
        for (uint32_t part = 0; part < PARTS; part++) {
#pragma unroll
            for (uint32_t group = 0; group < GROUPS; group++) {
                if (fits(part)) to.at[group * 8 + threadIdx.x % 8][row_of(part)] = held[part][group];
            }
        }
    }
};

// Of columns: several terms of one of them.
template <class T, uint32_t ROWS> struct PlainCopier<T, ROWS, Columns<T>> {
    static constexpr uint32_t APART = PLAIN_THREADS / ROWS, PARTS = PLAIN_SLICE / APART;
    static_assert(PARTS * APART == PLAIN_SLICE);
    const T* from;
    uint32_t width;
    bool there;
    float held[PARTS];

    __device__ __forceinline__ explicit PlainCopier(Columns<T> col)
        : from(col(threadIdx.x % ROWS, 1)), width(col.width), there(col.has(threadIdx.x % ROWS)) {}

    __device__ static uint32_t term_of(uint32_t part) { return part * APART + threadIdx.x / ROWS; }

    __device__ __forceinline__ void load(uint32_t first, uint32_t inner) {
#pragma unroll
        for (uint32_t part = 0; part < PARTS; part++) {
            const uint32_t term = first + term_of(part);
            held[part] = there && term < inner ? widen(from[(size_t)term * width]) : 0.0f;
        }
    }

    __device__ __forceinline__ void store(PlainSlice<ROWS>& to) const {
#pragma unroll
        for (uint32_t part = 0; part < PARTS; part++) to.at[term_of(part)][threadIdx.x % ROWS] = held[part];
    }
};

template <uint32_t ROWS>
__device__ __forceinline__ void plain_multiply(
    PlainSums<ROWS>& sums, const PlainSlice<ROWS>& xs, const PlainSlice<PLAIN_COLS>& ws
) {
#pragma unroll
    for (uint32_t term = 0; term < PLAIN_SLICE; term++) {
        float x[PLAIN_HEIGHT<ROWS>], w[PLAIN_WIDTH];
#pragma unroll
        for (uint32_t i = 0; i < PLAIN_HEIGHT<ROWS>; i++) x[i] = xs.at[term][sums.first_row() + i];
#pragma unroll
        for (uint32_t j = 0; j < PLAIN_WIDTH; j++) w[j] = ws.at[term][sums.first_col() + j];
#pragma unroll
        for (uint32_t i = 0; i < PLAIN_HEIGHT<ROWS>; i++) {
#pragma unroll
            for (uint32_t j = 0; j < PLAIN_WIDTH; j++) sums.at[i][j] = fmaf(x[i], w[j], sums.at[i][j]);
        }
    }
}

// The sums of the tile whose operands are `x_source` and `w_source`, of `inner` terms each.
template <class T, uint32_t ROWS, class XSource, class WSource>
__device__ __forceinline__ void plain_product(PlainSums<ROWS>& sums, XSource x_source, WSource w_source, uint32_t inner) {
    __shared__ __align__(16) PlainSlice<ROWS> xs[2];
    __shared__ __align__(16) PlainSlice<PLAIN_COLS> ws[2];
    PlainCopier<T, ROWS, XSource> x(x_source);
    PlainCopier<T, PLAIN_COLS, WSource> w(w_source);
    x.load(0, inner);
    w.load(0, inner);
    uint32_t now = 0;
    for (uint32_t first = 0; first < inner; first += PLAIN_SLICE) {
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

// Calls `f(row, col, sums)` for the four neighbours that a thread has in each of its rows, with their place in the tile.
template <uint32_t ROWS, class F> __device__ __forceinline__ void each_four(const PlainSums<ROWS>& sums, F f) {
    static_assert(PLAIN_WIDTH == 4);
#pragma unroll
    for (uint32_t i = 0; i < PLAIN_HEIGHT<ROWS>; i++) {
        const float(&at)[4] = sums.at[i];
        f(sums.first_row() + i, sums.first_col(), float4{at[0], at[1], at[2], at[3]});
    }
}
