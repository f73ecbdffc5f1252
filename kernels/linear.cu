// y = x·wᵀ, y += x·wᵀ, y = max(x·wᵀ, 0). x [rows, inner], w [outputs, inner], y [rows, outputs].
//
// The first is for up to three weights of one shape at once, a layer of blocks for each: as many tiles as the three have
// together fill the machine better, and x comes from the cache but once.

#include "epilogue.cuh"
#include "few.cuh"
#include "operand.cuh"
#include "plain.cuh"
#include "tiled.cuh"

template <class T> struct Linear {
    const T *x, *w;
    T* y;
    uint32_t rows, inner, outputs;
};

// Of the matrices that a launch is for, the one that this block works on.
template <class P> __device__ __forceinline__ P own(P first, P second, P third) {
    return blockIdx.z == 0 ? first : blockIdx.z == 1 ? second : third;
}

// Many rows. inner and outputs are multiples of 8.
template <class Tiles, class Epilogue> __device__ __forceinline__ void linear_tiled(const Linear<bf16>& a) {
    const Place tile = Place::of_block<Tiles>(a.rows, a.outputs);
    if (tile.row >= a.rows) return;
    const Rows<bf16> x{a.x, tile.row, a.rows, a.inner}, w{a.w, tile.col, a.outputs, a.inner};
    Sums<Tiles> sums = {};
    tile_product(sums, x, w, a.inner);
    const Output y{a.y, a.rows, a.outputs};
    each_block(sums, [&](uint32_t row, uint32_t col, const Sum& sum) {
        store_block<Epilogue>(y, tile.row + row, tile.col + col, sum);
    });
}

// At most 16 rows. inner and outputs are multiples of 8.
template <class Epilogue> __device__ __forceinline__ void linear_few(const Linear<bf16>& a, Norm norm, Split split) {
    __shared__ __align__(16) Products products;
    const uint32_t first = blockIdx.x * FEW_COLS;
    const Rows<bf16> w{a.w, first, a.outputs, a.inner};
    if (a.rows == 0 || !few_product(products, a.x, w, a.rows, a.inner, norm, split)) return;
    each_quad(a.rows, [&](uint32_t row, uint32_t col) {
        if (first + col >= a.outputs) return;
        finish_four<Epilogue>(a.y + (size_t)row * a.outputs + first + col, products.quad(row, col));
    });
}

// Any widths.
template <class T, uint32_t ROWS, class Epilogue> __device__ __forceinline__ void linear_plain(const Linear<T>& a) {
    const uint32_t first_row = blockIdx.y * ROWS, first_col = blockIdx.x * PLAIN_COLS;
    if (first_row >= a.rows) return;
    const Rows<T> x{a.x, first_row, a.rows, a.inner}, w{a.w, first_col, a.outputs, a.inner};
    PlainSums<ROWS> sums = {};
    plain_product<T>(sums, x, w, a.inner);
    each_four(sums, [&](uint32_t row, uint32_t col, float4 products) {
        if (first_row + row >= a.rows) return;
        store_up_to_four<Epilogue>(a.y + (size_t)(first_row + row) * a.outputs, first_col + col, a.outputs, products);
    });
}

#define PARAMETERS_OF_ONE(T)                                                                                           \
    const T *__restrict__ x, const T *__restrict__ w, T *__restrict__ y, uint32_t rows, uint32_t inner,                \
        uint32_t outputs, const uint32_t *__restrict__ live_rows
#define PARAMETERS_OF_THREE(T)                                                                                         \
    const T *__restrict__ x, const T *__restrict__ w_0, const T *__restrict__ w_1, const T *__restrict__ w_2,          \
        T *__restrict__ y_0, T *__restrict__ y_1, T *__restrict__ y_2, uint32_t rows, uint32_t inner,                  \
        uint32_t outputs, const uint32_t *__restrict__ live_rows
// Of those alone that may norm x.
#define NORM_OF_ONE
#define NORM_OF_THREE const bf16 *__restrict__ g, float eps,
#define NORM_ARGUMENTS_OF_ONE {}
#define NORM_ARGUMENTS_OF_THREE {g, eps}
#define SPLIT uint32_t span, float *__restrict__ partial, uint32_t *__restrict__ tickets
#define ARGUMENTS_OF_ONE {x, w, y, true_rows(rows, live_rows), inner, outputs}
#define ARGUMENTS_OF_THREE                                                                                             \
    {x, own(w_0, w_1, w_2), own(y_0, y_1, y_2), true_rows(rows, live_rows), inner, outputs}

#define TILED(name, Tiles, Epilogue, OF)                                                                               \
    extern "C" __global__ void __launch_bounds__(Tiles::THREADS, Tiles::RESIDENT) name##_bf16(PARAMETERS_##OF(bf16)) { \
        linear_tiled<Tiles, Epilogue>(ARGUMENTS_##OF);                                                                 \
    }
#define FEW(name, Epilogue, OF)                                                                                        \
    extern "C" __global__ void __launch_bounds__(FEW_THREADS, FEW_RESIDENT)                                            \
        name##_bf16(PARAMETERS_##OF(bf16), NORM_##OF SPLIT) {                                                          \
        linear_few<Epilogue>(ARGUMENTS_##OF, NORM_ARGUMENTS_##OF, {span, partial, tickets});                           \
    }
#define PLAIN(name, T, ROWS, Epilogue, OF)                                                                             \
    extern "C" __global__ void __launch_bounds__(PLAIN_THREADS, PLAIN_RESIDENT) name##_##T(PARAMETERS_##OF(T)) {       \
        linear_plain<T, ROWS, Epilogue>(ARGUMENTS_##OF);                                                               \
    }
#define LINEAR(name, Epilogue, OF)                                                                                     \
    TILED(name##_tile128x256, Large, Epilogue, OF)                                                                     \
    TILED(name##_tile128x128, Medium, Epilogue, OF)                                                                    \
    TILED(name##_tile64x64, Small, Epilogue, OF)                                                                       \
    FEW(name##_rows16, Epilogue, OF)                                                                                   \
    PLAIN(name##_plain64, f32, 64, Epilogue, OF)                                                                       \
    PLAIN(name##_plain64, bf16, 64, Epilogue, OF)                                                                      \
    PLAIN(name##_plain8, f32, 8, Epilogue, OF)                                                                         \
    PLAIN(name##_plain8, bf16, 8, Epilogue, OF)

LINEAR(linear, Store, OF_THREE)
LINEAR(linear_add, Add, OF_ONE)
LINEAR(linear_relu, Relu, OF_ONE)
