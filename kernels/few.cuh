// x·wᵀ of few rows: decoding, where the weights are the traffic. Each of their bytes is read once, by one lane, straight
// into the registers that the tensor cores want; nothing of them passes through shared memory.
//
// The terms of a product may be summed in any order: so a lane reads eight neighbours of a row at once, and both operands
// take them as the terms that mma.sync would have had from four places. The warps of a block share the inner dimension
// between them, and so do `gridDim.y` blocks where one would leave most of the machine idle: the last of them to come
// adds up what all have found, always in the same order.
#pragma once

#include "element.cuh"
#include "mma.cuh"

// Rows of x, at most, and rows of w that a block takes.
constexpr uint32_t FEW_ROWS = 16, FEW_COLS = 64;
constexpr uint32_t FEW_WARPS = 4, FEW_THREADS = FEW_WARPS * 32;
// Blocks of a multiprocessor, for the compiler's choice of registers.
constexpr uint32_t FEW_RESIDENT = 3;
// Columns of a row that a warp takes at a time, in two parts: a line of 128 bytes.
constexpr uint32_t FEW_CHUNK = 64, FEW_PART = 32;
// In shared memory the products of a row are this far apart, which brings those of four rows to different banks.
constexpr uint32_t FEW_STRIDE = FEW_COLS + 8;

// How blocks share the inner dimension: each takes `span` columns, a multiple of what its warps take at a time.
struct Split {
    uint32_t span;
    // [gridDim.z · gridDim.x, gridDim.y, rows, FEW_COLS]
    float* partial;
    // One a column of blocks, 0 before and after.
    uint32_t* tickets;
};

// How x is normed on its way: y = x · rsqrt(mean(x²) + ε) ⊙ g, rounded as a norm by itself would be. Without g it is not.
struct Norm {
    const bf16* g;
    float eps;
};

// rsqrt(mean(x²) + ε) of each row, to all threads of the block, which all call it.
__device__ __forceinline__ void few_scales(float* scale, const bf16* x, uint32_t rows, uint32_t inner, float eps) {
    for (uint32_t row = threadIdx.x / WARP; row < rows; row += FEW_WARPS) {
        float sum = 0;
#pragma unroll 4
        for (uint32_t i = lane(); i < inner / 8; i += WARP) {
            const Pack<8> pack = load<8>(x + (size_t)row * inner, i);
#pragma unroll
            for (int j = 0; j < 8; j++) sum += pack[j] * pack[j];
        }
        sum = warp_sum(sum);
        if (lane() == 0) scale[row] = rsqrtf(sum / inner + eps);
    }
    __syncthreads();
}

// Eight numbers of a row, normed.
__device__ __forceinline__ uint4 few_normed(uint4 x, float scale, const bf16* g) {
    Pack<8> pack = unpack(x, bf16{});
    const Pack<8> by = load<8>(g, 0);
#pragma unroll
    for (int j = 0; j < 8; j++) pack[j] = pack[j] * scale * by[j];
    return repack(pack, bf16{});
}

// Products of the rows of x with the block's rows of w: each warp's at first, and then their sum as the first warp's.
struct Products {
    float of_warp[FEW_WARPS][FEW_ROWS][FEW_STRIDE];

    __device__ float4& quad(uint32_t row, uint32_t col, uint32_t warp = 0) {
        return reinterpret_cast<float4&>(of_warp[warp][row][col]);
    }
};

// Calls `f(row, col)` for every fourth column, each by one thread.
template <class F> __device__ __forceinline__ void each_quad(uint32_t rows, F f) {
    for (uint32_t i = threadIdx.x; i < rows * (FEW_COLS / 4); i += FEW_THREADS) {
        f(i / (FEW_COLS / 4), i % (FEW_COLS / 4) * 4);
    }
}

__device__ __forceinline__ float4 operator+(float4 a, float4 b) { return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w}; }

// Sixteen bytes that are used once.
__device__ __forceinline__ uint4 load_streaming(const bf16* from) {
    uint4 v;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
        : "l"(from));
    return v;
}

// A warp's sums over its own columns.
struct FewSums {
    static constexpr uint32_t BLOCKS = FEW_COLS / 8, PARTS = FEW_CHUNK / FEW_PART;
    float at[BLOCKS][4];

    // Adds a chunk. `x(half, part)` and `w(block, part)` are the lane's eight numbers of rows of the operands.
    template <class X, class W> __device__ __forceinline__ void add(X x, W w) {
        uint4 right[PARTS][BLOCKS], upper[PARTS], lower[PARTS];
#pragma unroll
        for (uint32_t block = 0; block < BLOCKS; block++) {
#pragma unroll
            for (uint32_t part = 0; part < PARTS; part++) right[part][block] = w(block, part);
        }
#pragma unroll
        for (uint32_t part = 0; part < PARTS; part++) upper[part] = x(0, part), lower[part] = x(1, part);
#pragma unroll
        for (uint32_t part = 0; part < PARTS; part++) {
            const uint4 u = upper[part], l = lower[part];
            const uint32_t first[4] = {u.x, l.x, u.y, l.y}, second[4] = {u.z, l.z, u.w, l.w};
#pragma unroll
            for (uint32_t block = 0; block < BLOCKS; block++) {
                mma_m16n8k16(at[block], first, right[part][block].x, right[part][block].y);
                mma_m16n8k16(at[block], second, right[part][block].z, right[part][block].w);
            }
        }
    }

    __device__ __forceinline__ void write(Products& to) const {
#pragma unroll
        for (uint32_t block = 0; block < BLOCKS; block++) {
#pragma unroll
            for (uint32_t i = 0; i < 4; i += 2) {
                float* pair = &to.of_warp[threadIdx.x / 32][sum_row(i)][block * 8 + sum_col(i)];
                *reinterpret_cast<float2*>(pair) = {at[block][i], at[block][i + 1]};
            }
        }
    }
};

// The products over the block's share of the inner dimension.
template <class WRow>
__device__ __forceinline__ void few_product_of_block(
    Products& products, const bf16* x, WRow w_row, uint32_t rows, uint32_t inner, Norm norm, uint32_t span
) {
    __shared__ float scale[FEW_ROWS];
    if (norm.g) few_scales(scale, x, rows, inner, norm.eps);
    const uint32_t row = lane() / 4, col = lane() % 4 * 8;
    const bf16* w_from[FewSums::BLOCKS];
#pragma unroll
    for (uint32_t block = 0; block < FewSums::BLOCKS; block++) w_from[block] = w_row(block * 8 + row) + col;
    const bf16* x_from = x + (size_t)row * inner + col;

    const uint32_t begin = blockIdx.y * span, end = min(begin + span, inner);
    uint32_t first = begin + threadIdx.x / 32 * FEW_CHUNK;
    const uint4 zeros = {};
    const auto x_at = [&](uint32_t half, uint32_t part) {
        if (half * 8 + row >= rows) return zeros;
        const uint32_t behind = first + part * FEW_PART;
        const uint4 eight = __ldg(reinterpret_cast<const uint4*>(x_from + half * 8 * inner + behind));
        return norm.g ? few_normed(eight, scale[half * 8 + row], norm.g + behind + col) : eight;
    };
    const auto w_at = [&](uint32_t block, uint32_t part) {
        return load_streaming(w_from[block] + first + part * FEW_PART);
    };

    FewSums sums = {};
    for (; first + FEW_CHUNK <= end; first += FEW_WARPS * FEW_CHUNK) sums.add(x_at, w_at);
    if (first < end) {
        const auto there = [&](uint32_t part) { return first + part * FEW_PART + col < end; };
        sums.add(
            [&](uint32_t half, uint32_t part) { return there(part) ? x_at(half, part) : zeros; },
            [&](uint32_t block, uint32_t part) { return there(part) ? w_at(block, part) : zeros; }
        );
    }

    sums.write(products);
    __syncthreads();
    each_quad(rows, [&](uint32_t row, uint32_t col) {
        float4 sum = products.quad(row, col);
#pragma unroll
        for (uint32_t warp = 1; warp < FEW_WARPS; warp++) sum = sum + products.quad(row, col, warp);
        products.quad(row, col) = sum;
    });
}

// The block's place among those that share no inner dimension.
__device__ __forceinline__ uint32_t few_place() { return blockIdx.z * gridDim.x + blockIdx.x; }

// Whether this block is the last of those that share the inner dimension; if so, its products are then the sums over all.
__device__ __forceinline__ bool few_gather(Products& products, uint32_t rows, Split split) {
    __shared__ uint32_t ticket;
    const auto partial = [&](uint32_t share, uint32_t row, uint32_t col) {
        const size_t at = ((size_t)few_place() * gridDim.y + share) * rows + row;
        return reinterpret_cast<float4*>(split.partial + at * FEW_COLS + col);
    };
    each_quad(rows, [&](uint32_t row, uint32_t col) { *partial(blockIdx.y, row, col) = products.quad(row, col); });
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) ticket = atomicAdd(split.tickets + few_place(), 1);
    __syncthreads();
    if (ticket + 1 < gridDim.y) return false;
    __threadfence();
    if (threadIdx.x == 0) atomicExch(split.tickets + few_place(), 0);
    each_quad(rows, [&](uint32_t row, uint32_t col) {
        float4 sum = {};
        for (uint32_t share = 0; share < gridDim.y; share++) sum = sum + __ldcg(partial(share, row, col));
        products.quad(row, col) = sum;
    });
    return true;
}

// The products of x, `rows` × `inner`, normed or not, with the rows of w that `w_row` names. Whether they are in this block's hands:
// then each thread has those that `each_quad` gives it.
template <class WRow>
__device__ __forceinline__ bool few_product(
    Products& products, const bf16* x, WRow w_row, uint32_t rows, uint32_t inner, Norm norm, Split split
) {
    few_product_of_block(products, x, w_row, rows, inner, norm, split.span);
    return gridDim.y == 1 || few_gather(products, rows, split);
}
