// Of y = x·Wᵀ: dW += dyᵀ·x. dy [n, outputs], x [n, inputs], dw [outputs, inputs] in f32.
//
// Both operands are read as they lie, a row of many terms' columns after the other, and transposed on their way from
// shared memory to the registers. Layers of blocks share the rows, `span` of them each: then what they make are parts,
// [layers, outputs, inputs], which `sum_rows` adds to dw; one layer adds to dw by itself.

#include "epilogue.cuh"
#include "operand.cuh"
#include "plain.cuh"
#include "tiled.cuh"

template <class T> struct Gradient {
    const T *dy, *x;
    float* to;  // dw, or the parts
    uint32_t outputs, inputs;
    uint32_t first, rows;  // of this layer

    __device__ Columns<T> dy_from(uint32_t col) const { return {dy + (size_t)first * outputs, col, outputs}; }
    __device__ Columns<T> x_from(uint32_t col) const { return {x + (size_t)first * inputs, col, inputs}; }
    __device__ float* row(uint32_t output) const {
        return to + ((size_t)blockIdx.z * outputs + output) * inputs;
    }
    __device__ static bool adds() { return gridDim.z == 1; }
};

// outputs and inputs are multiples of 8.
template <class Tiles> __device__ __forceinline__ void linear_dw_tiled(const Gradient<bf16>& a) {
    const Place tile = Place::of_block<Tiles>(a.outputs, a.inputs);
    Sums<Tiles> sums = {};
    tile_product(sums, a.dy_from(tile.row), a.x_from(tile.col), a.rows);
    each_block(sums, [&](uint32_t row, uint32_t col, const Sum& sum) {
#pragma unroll
        for (uint32_t quarter = 0; quarter < 4; quarter++) {
            const uint32_t i = quarter % 2 * 2;
            const uint32_t output = tile.row + row + sum_row(i), input = tile.col + col + quarter / 2 * 8 + sum_col(i);
            if (output >= a.outputs || input >= a.inputs) continue;
            float2* const to = reinterpret_cast<float2*>(a.row(output) + input);
            const float2 was = a.adds() ? *to : float2{};
            const float* pair = &sum.half[quarter / 2][i];
            *to = {was.x + pair[0], was.y + pair[1]};
        }
    });
}

// Any widths.
template <class T> __device__ __forceinline__ void linear_dw_plain(const Gradient<T>& a) {
    constexpr uint32_t ROWS = 64;
    const uint32_t first_row = blockIdx.y * ROWS, first_col = blockIdx.x * PLAIN_COLS;
    PlainSums<ROWS> sums = {};
    plain_product<T>(sums, a.dy_from(first_row), a.x_from(first_col), a.rows);
    each_four(sums, [&](uint32_t row, uint32_t col, float4 products) {
        if (first_row + row >= a.outputs) return;
        float* const to = a.row(first_row + row);
        if (a.adds()) {
            store_up_to_four<Add>(to, first_col + col, a.inputs, products);
        } else {
            store_up_to_four<Store>(to, first_col + col, a.inputs, products);
        }
    });
}

template <class T>
__device__ __forceinline__ Gradient<T> gradient(const T* dy, const T* x, float* to, uint32_t outputs, uint32_t inputs,
                                                uint32_t span, uint32_t rows) {
    const uint32_t first = min(blockIdx.z * span, rows);
    return {dy, x, to, outputs, inputs, first, min(span, rows - first)};
}

#define PARAMETERS(T)                                                                                                  \
    const T *__restrict__ dy, const T *__restrict__ x, float *__restrict__ to, uint32_t outputs, uint32_t inputs,      \
        uint32_t span, uint32_t rows, const uint32_t *__restrict__ live_rows
#define ARGUMENTS gradient(dy, x, to, outputs, inputs, span, true_rows(rows, live_rows))

#define TILED(name, Tiles)                                                                                             \
    extern "C" __global__ void __launch_bounds__(Tiles::THREADS, Tiles::RESIDENT) name##_bf16(PARAMETERS(bf16)) {      \
        linear_dw_tiled<Tiles>(ARGUMENTS);                                                                             \
    }
#define PLAIN(name, T)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(PLAIN_THREADS, PLAIN_RESIDENT) name##_##T(PARAMETERS(T)) {            \
        linear_dw_plain<T>(ARGUMENTS);                                                                                 \
    }

TILED(linear_dw_tile128x256, Large)
TILED(linear_dw_tile128x128, Medium)
TILED(linear_dw_tile64x64, Small)
PLAIN(linear_dw_plain64, f32)
PLAIN(linear_dw_plain64, bf16)
