// x·wᵀ of many rows on tensor cores: a block makes a tile of it, a warp a part of the tile, all of the inner dimension
// for itself.
//
// The inner dimension goes by in slices, STAGES − 1 of them on their way from global memory while one is multiplied. A
// warp loads the operands of its next 16 columns before it multiplies those of the last 16, across the slices' border
// too, so that the tensor cores have work while others wait at the barrier: there is one barrier a slice.
#pragma once

#include "element.cuh"
#include "mma.cuh"
#include "operand.cuh"

// Columns of the operands that are in shared memory together.
constexpr uint32_t SLICE = 32;

// How large a tile is and who makes it.
template <uint32_t ROWS_, uint32_t COLS_, uint32_t WARP_ROWS_, uint32_t WARP_COLS_, uint32_t STAGES_, uint32_t RESIDENT_>
struct Tiling {
    // Of x, which are rows of the tile, and of w, which are its columns.
    static constexpr uint32_t ROWS = ROWS_, COLS = COLS_;
    static constexpr uint32_t WARP_ROWS = WARP_ROWS_, WARP_COLS = WARP_COLS_;
    static constexpr uint32_t WARPS_ACROSS = COLS / WARP_COLS;
    static constexpr uint32_t THREADS = ROWS / WARP_ROWS * WARPS_ACROSS * 32;
    static constexpr uint32_t STAGES = STAGES_;
    // Blocks that a multiprocessor is to hold, for the compiler's choice of registers.
    static constexpr uint32_t RESIDENT = RESIDENT_;
    static constexpr uint32_t X_BYTES = ROWS * Tile<SLICE>::ROW_BYTES;
    static constexpr uint32_t STAGE_BYTES = X_BYTES + COLS * Tile<SLICE>::ROW_BYTES;
    static constexpr uint32_t SHARED_BYTES = STAGES * STAGE_BYTES;
    static_assert(ROWS % WARP_ROWS == 0 && COLS % WARP_COLS == 0 && WARP_ROWS % 16 == 0 && WARP_COLS % 16 == 0);

    __device__ static uint32_t warp_row() { return threadIdx.x / 32 / WARPS_ACROSS * WARP_ROWS; }
    __device__ static uint32_t warp_col() { return threadIdx.x / 32 % WARPS_ACROSS * WARP_COLS; }
};

using Large = Tiling<128, 256, 64, 64, 4, 1>;
using Medium = Tiling<128, 128, 64, 64, 3, 2>;
using Small = Tiling<64, 64, 32, 32, 4, 4>;

// The part of the tile that a warp makes.
template <class T> struct Sums {
    Sum at[T::WARP_ROWS / 16][T::WARP_COLS / 16];
};

// How an operand of LENGTH rows or columns of the tile gets into shared memory, and from there to the warps: the chunks
// that a thread copies, in every slice the same. `Source` names the memory behind a row of the tile, where the terms lie
// side by side: a slice is a tile of rows.
template <uint32_t LENGTH, uint32_t THREADS, class Source> struct Copier {
    static constexpr uint32_t CHUNKS = Tile<SLICE>::CHUNKS, APART = THREADS / CHUNKS, PARTS = LENGTH / APART;
    static_assert(PARTS * APART == LENGTH);
    const bf16* from[PARTS];

    __device__ __forceinline__ explicit Copier(Source row) {
#pragma unroll
        for (uint32_t part = 0; part < PARTS; part++) from[part] = row(threadIdx.x / CHUNKS + part * APART) + chunk() * 8;
    }

    __device__ static uint32_t chunk() { return threadIdx.x % CHUNKS; }

    // Behind the end, zeros are copied: nothing else has to know how the inner dimension divides.
    __device__ __forceinline__ void start(uint32_t stage, uint32_t first, uint32_t inner) const {
        const Tile<SLICE> to{stage};
        const uint32_t bytes = first + chunk() * 8 < inner ? 16 : 0;
#pragma unroll
        for (uint32_t part = 0; part < PARTS; part++) {
            copy_async(to.chunk(threadIdx.x / CHUNKS + part * APART, chunk()), from[part] + first, bytes);
        }
    }

    __device__ static Left left(uint32_t stage, uint32_t row, uint32_t term) {
        return Tile<SLICE>{stage}.left(row, term);
    }
    __device__ static Right right(uint32_t stage, uint32_t row, uint32_t term) {
        return Tile<SLICE>{stage}.right(row, term);
    }
};

// Of columns, whose width is a multiple of 8, a term of all of them lies side by side: a slice is a tile of terms, which
// is transposed on its way to the registers.
template <uint32_t LENGTH, uint32_t THREADS> struct Copier<LENGTH, THREADS, Columns<bf16>> {
    static constexpr uint32_t CHUNKS = Tile<LENGTH>::CHUNKS, APART = THREADS / CHUNKS, PARTS = SLICE / APART;
    static_assert(PARTS * APART == SLICE);
    const bf16* from;
    uint32_t width;

    __device__ __forceinline__ explicit Copier(Columns<bf16> col)
        : from(col(threadIdx.x % CHUNKS * 8, 8)), width(col.width) {}

    __device__ __forceinline__ void start(uint32_t stage, uint32_t first, uint32_t inner) const {
        const Tile<LENGTH> to{stage};
#pragma unroll
        for (uint32_t part = 0; part < PARTS; part++) {
            const uint32_t term = threadIdx.x / CHUNKS + part * APART;
            const uint32_t bytes = first + term < inner ? 16 : 0;
            copy_async(to.chunk(term, threadIdx.x % CHUNKS), from + (size_t)(first + term) * width, bytes);
        }
    }

    __device__ static Left left(uint32_t stage, uint32_t row, uint32_t term) {
        return Tile<LENGTH>{stage}.left_transposed(term, row);
    }
    __device__ static Right right(uint32_t stage, uint32_t row, uint32_t term) {
        return Tile<LENGTH>{stage}.right_transposed(term, row);
    }
};

// What a warp multiplies at a time: 16 terms of each operand.
template <class T, class X, class W> struct Operands {
    Left x[T::WARP_ROWS / 16];
    Right w[T::WARP_COLS / 16];

    __device__ __forceinline__ void load(uint32_t stage, uint32_t term) {
#pragma unroll
        for (uint32_t i = 0; i < T::WARP_ROWS / 16; i++) x[i] = X::left(stage, T::warp_row() + i * 16, term);
#pragma unroll
        for (uint32_t j = 0; j < T::WARP_COLS / 16; j++) w[j] = W::right(stage + T::X_BYTES, T::warp_col() + j * 16, term);
    }

    __device__ __forceinline__ void multiply_into(Sums<T>& sums) const {
#pragma unroll
        for (uint32_t i = 0; i < T::WARP_ROWS / 16; i++) {
#pragma unroll
            for (uint32_t j = 0; j < T::WARP_COLS / 16; j++) multiply(sums.at[i][j], x[i], w[j]);
        }
    }
};

// The sums of the tile whose operands are `x_source` and `w_source`, of `inner` terms each: a multiple of 8, but where both
// are columns.
template <class T, class XSource, class WSource>
__device__ __forceinline__ void tile_product(Sums<T>& sums, XSource x_source, WSource w_source, uint32_t inner) {
    extern __shared__ __align__(128) unsigned char shared[];
    using X = Copier<T::ROWS, T::THREADS, XSource>;
    using W = Copier<T::COLS, T::THREADS, WSource>;
    const uint32_t stages = shared_address(shared);
    const X x(x_source);
    const W w(w_source);

    const auto start = [&](uint32_t stage, uint32_t first) {
        x.start(stage, first, inner);
        w.start(stage + T::X_BYTES, first, inner);
        commit_copies();
    };
    const auto after = [&](uint32_t stage) {
        return stage == stages + (T::STAGES - 1) * T::STAGE_BYTES ? stages : stage + T::STAGE_BYTES;
    };

    for (uint32_t s = 0; s < T::STAGES - 1; s++) start(stages + s * T::STAGE_BYTES, s * SLICE);
    wait_for_copies<T::STAGES - 2>();
    __syncthreads();

    uint32_t now = stages, free = stages + (T::STAGES - 1) * T::STAGE_BYTES;
    Operands<T, X, W> low, high;
    low.load(now, 0);
    for (uint32_t first = 0; first < inner; first += SLICE) {
        high.load(now, 16);
        // Everyone is done with this stage: its last operands were loaded before the last barrier.
        start(free, first + (T::STAGES - 1) * SLICE);
        low.multiply_into(sums);
        free = now;
        now = after(now);
        wait_for_copies<T::STAGES - 2>();
        __syncthreads();
        low.load(now, 0);
        high.multiply_into(sums);
    }
    wait_for_copies<0>();
}

// Calls `f(row, col, sum)` for each of a warp's blocks of 16 × 16, with its place in the tile.
template <class T, class F> __device__ __forceinline__ void each_block(const Sums<T>& sums, F f) {
#pragma unroll
    for (uint32_t i = 0; i < T::WARP_ROWS / 16; i++) {
#pragma unroll
        for (uint32_t j = 0; j < T::WARP_COLS / 16; j++) {
            f(T::warp_row() + i * 16, T::warp_col() + j * 16, sums.at[i][j]);
        }
    }
}

// Which tile a block makes. Blocks that run at the same time make tiles of a band of eight rows of tiles, so that what
// they read of both operands is about square, and stays in the second-level cache.
struct Place {
    uint32_t row, col;

    template <class T> __device__ static Place of_block(uint32_t rows, uint32_t cols) {
        constexpr uint32_t BAND = 8;
        const uint32_t down = (rows + T::ROWS - 1) / T::ROWS, across = (cols + T::COLS - 1) / T::COLS;
        const uint32_t band = blockIdx.x / (BAND * across), within = blockIdx.x % (BAND * across);
        const uint32_t height = min(BAND, down - band * BAND);
        return {(band * BAND + within % height) * T::ROWS, within / height * T::COLS};
    }
};
