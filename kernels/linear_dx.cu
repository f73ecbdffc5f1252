// Of y = x·Wᵀ: dx = dy·W. dy [rows, inner], w [inner, outputs], dx [rows, outputs]: the outputs here are y's inputs.

#include "epilogue.cuh"
#include "operand.cuh"
#include "plain.cuh"
#include "tiled.cuh"

template <class T> struct Backward {
    const T *dy, *w;
    T* dx;
    uint32_t rows, inner, outputs;
};

// inner and outputs are multiples of 8.
template <class Tiles> __device__ __forceinline__ void linear_dx_tiled(const Backward<bf16>& a) {
    const Place tile = Place::of_block<Tiles>(a.rows, a.outputs);
    if (tile.row >= a.rows) return;
    const Rows<bf16> dy{a.dy, tile.row, a.rows, a.inner};
    const Columns<bf16> w{a.w, tile.col, a.outputs};
    Sums<Tiles> sums = {};
    tile_product(sums, dy, w, a.inner);
    const Output dx{a.dx, a.rows, a.outputs};
    each_block(sums, [&](uint32_t row, uint32_t col, const Sum& sum) {
        store_block<Store>(dx, tile.row + row, tile.col + col, sum);
    });
}

// Any widths.
template <class T, uint32_t ROWS> __device__ __forceinline__ void linear_dx_plain(const Backward<T>& a) {
    const uint32_t first_row = blockIdx.y * ROWS, first_col = blockIdx.x * PLAIN_COLS;
    if (first_row >= a.rows) return;
    const Rows<T> dy{a.dy, first_row, a.rows, a.inner};
    const Columns<T> w{a.w, first_col, a.outputs};
    PlainSums<ROWS> sums = {};
    plain_product<T>(sums, dy, w, a.inner);
    each_four(sums, [&](uint32_t row, uint32_t col, float4 products) {
        if (first_row + row >= a.rows) return;
        store_up_to_four<Store>(a.dx + (size_t)(first_row + row) * a.outputs, first_col + col, a.outputs, products);
    });
}

#define PARAMETERS(T)                                                                                                  \
    const T *__restrict__ dy, const T *__restrict__ w, T *__restrict__ dx, uint32_t rows, uint32_t inner,              \
        uint32_t outputs, const uint32_t *__restrict__ live_rows
#define ARGUMENTS {dy, w, dx, true_rows(rows, live_rows), inner, outputs}

#define TILED(name, Tiles)                                                                                             \
    extern "C" __global__ void __launch_bounds__(Tiles::THREADS, Tiles::RESIDENT) name##_bf16(PARAMETERS(bf16)) {      \
        linear_dx_tiled<Tiles>(ARGUMENTS);                                                                             \
    }
#define PLAIN(name, T, ROWS)                                                                                           \
    extern "C" __global__ void __launch_bounds__(PLAIN_THREADS, PLAIN_RESIDENT) name##_##T(PARAMETERS(T)) {            \
        linear_dx_plain<T, ROWS>(ARGUMENTS);                                                                           \
    }

TILED(linear_dx_tile128x256, Large)
TILED(linear_dx_tile128x128, Medium)
TILED(linear_dx_tile64x64, Small)
PLAIN(linear_dx_plain64, f32, 64)
PLAIN(linear_dx_plain64, bf16, 64)
PLAIN(linear_dx_plain8, f32, 8)
PLAIN(linear_dx_plain8, bf16, 8)
