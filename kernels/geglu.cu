// h = gelu(x·w_0ᵀ) ⊙ x·w_1ᵀ. x [rows, inner], w_0 and w_1 [outputs, inner], h [rows, outputs].
//
// One product with the rows of both weights in turns, so that a thread has both numbers of a gate in its registers.

#include "epilogue.cuh"
#include "few.cuh"
#include "operand.cuh"
#include "plain.cuh"
#include "tiled.cuh"

template <class T> struct Geglu {
    const T *x, *w_0, *w_1;
    T* h;
    uint32_t rows, inner, outputs;

    // The weights' rows from `first` on.
    template <uint32_t RUN> __device__ GatedRows<T, RUN> weights(uint32_t first) const {
        return {{w_0, first, outputs, inner}, {w_1, first, outputs, inner}};
    }
};

__device__ __forceinline__ float gated(float a, float b) { return gelu(a) * b; }

__device__ __forceinline__ Sum gated(const Sum& a, const Sum& b) {
    Sum h;
#pragma unroll
    for (uint32_t half = 0; half < 2; half++) {
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) h.half[half][i] = gated(a.half[half][i], b.half[half][i]);
    }
    return h;
}

// Many rows. inner and outputs are multiples of 8.
template <class Tiles> __device__ __forceinline__ void geglu_tiled(const Geglu<bf16>& a) {
    const Place tile = Place::of_block<Tiles>(a.rows, 2 * a.outputs);
    if (tile.row >= a.rows) return;
    const Rows<bf16> x{a.x, tile.row, a.rows, a.inner};
    Sums<Tiles> sums = {};
    tile_product(sums, x, a.weights<16>(tile.col / 2), a.inner);
    const Output h{a.h, a.rows, a.outputs};
#pragma unroll
    for (uint32_t i = 0; i < Tiles::WARP_ROWS / 16; i++) {
#pragma unroll
        for (uint32_t j = 0; j < Tiles::WARP_COLS / 16; j += 2) {
            const uint32_t row = tile.row + Tiles::warp_row() + i * 16, col = tile.col + Tiles::warp_col() + j * 16;
            store_block<Store>(h, row, col / 2, gated(sums.at[i][j], sums.at[i][j + 1]));
        }
    }
}

// At most 16 rows. inner and outputs are multiples of 8.
__device__ __forceinline__ void geglu_few(const Geglu<bf16>& a, Norm norm, Split split) {
    __shared__ __align__(16) Products products;
    const uint32_t first = blockIdx.x * (FEW_COLS / 2);
    if (a.rows == 0 || !few_product(products, a.x, a.weights<2>(first), a.rows, a.inner, norm, split)) return;
    each_quad(a.rows, [&](uint32_t row, uint32_t col) {
        if (first + col / 2 >= a.outputs) return;
        const float4 both = products.quad(row, col);
        bf16* h = a.h + (size_t)row * a.outputs + first + col / 2;
        store_two(h, gated(both.x, both.z), gated(both.y, both.w));
    });
}

// Any widths.
template <class T, uint32_t ROWS> __device__ __forceinline__ void geglu_plain(const Geglu<T>& a) {
    const uint32_t first_row = blockIdx.y * ROWS, first_col = blockIdx.x * (PLAIN_COLS / 2);
    if (first_row >= a.rows) return;
    const Rows<T> x{a.x, first_row, a.rows, a.inner};
    PlainSums<ROWS> sums = {};
    plain_product<T>(sums, x, a.template weights<2>(first_col), a.inner);
    each_four(sums, [&](uint32_t row, uint32_t col, float4 both) {
        if (first_row + row >= a.rows) return;
        T* h = a.h + (size_t)(first_row + row) * a.outputs;
        col = first_col + col / 2;
        const float low = gated(both.x, both.z), high = gated(both.y, both.w);
        if (a.outputs % 2 == 0) {
            if (col < a.outputs) store_two(h + col, low, high);
        } else {
            if (col < a.outputs) h[col] = narrow<T>(low);
            if (col + 1 < a.outputs) h[col + 1] = narrow<T>(high);
        }
    });
}

#define PARAMETERS(T)                                                                                                  \
    const T *__restrict__ x, const T *__restrict__ w_0, const T *__restrict__ w_1, T *__restrict__ h, uint32_t rows,   \
        uint32_t inner, uint32_t outputs, const uint32_t *__restrict__ live_rows
#define ARGUMENTS {x, w_0, w_1, h, true_rows(rows, live_rows), inner, outputs}

#define TILED(name, Tiles)                                                                                             \
    extern "C" __global__ void __launch_bounds__(Tiles::THREADS, Tiles::RESIDENT) name##_bf16(PARAMETERS(bf16)) {      \
        geglu_tiled<Tiles>(ARGUMENTS);                                                                                 \
    }
#define PLAIN(name, T, ROWS)                                                                                           \
    extern "C" __global__ void __launch_bounds__(PLAIN_THREADS, PLAIN_RESIDENT) name##_##T(PARAMETERS(T)) {            \
        geglu_plain<T, ROWS>(ARGUMENTS);                                                                               \
    }

TILED(geglu_tile128x256, Large)
TILED(geglu_tile128x128, Medium)
TILED(geglu_tile64x64, Small)

extern "C" __global__ void __launch_bounds__(FEW_THREADS, FEW_RESIDENT) geglu_rows16_bf16(
    PARAMETERS(bf16), const bf16* __restrict__ g, float eps, uint32_t span, float* __restrict__ partial,
    uint32_t* __restrict__ tickets
) {
    geglu_few(ARGUMENTS, {g, eps}, {span, partial, tickets});
}

PLAIN(geglu_plain64, f32, 64)
PLAIN(geglu_plain64, bf16, 64)
PLAIN(geglu_plain8, f32, 8)
PLAIN(geglu_plain8, bf16, 8)
