// The backward pass of attention on tensor cores, for segments of which three operands fit a multiprocessor's memory: a
// block has a head of a segment, and makes all of its gradients.
//
// q, do and k stay in shared memory. First warps have 16 keys at a time, whose values come from global memory, and all
// queries go by; then they have 16 queries at a time, and keys go by, with the values beside them once more. So all but
// the values is read once.
#pragma once

#include "attention_bwd_tiled.cuh"

namespace tiled {

constexpr uint32_t VALUES_BYTES = PIECE * WIDTH * 2;
constexpr uint32_t VALUES_PLACES = 2;

// Starts copying rows from `first` on, a multiple of 8 of them, into as many of a tile.
__device__ __forceinline__ void copy_head(Tile<WIDTH> to, const bf16* from, Head rows, uint32_t first, uint32_t count) {
    for (uint32_t i = threadIdx.x; i < count * 8; i += blockDim.x) {
        const uint32_t row = i / 8, chunk = i % 8;
        const bool there = first + row < rows.count;
        copy_async(to.chunk(row, chunk), from + rows.place(there ? first + row : 0, chunk * 8), there ? 16 : 0);
    }
}

__device__ __forceinline__ uint32_t pieces_of(uint32_t rows) { return (rows + PIECE - 1) / PIECE; }

// 16 bytes of a row.
__device__ __forceinline__ uint4 load(Tile<WIDTH> tile, uint32_t row, uint32_t chunk) {
    uint4 x;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "r"(tile.chunk(row, chunk))
                 : "memory");
    return x;
}

// A block's operands in shared memory.
struct Whole {
    Head queries, keys;
    Tile<WIDTH> q, d_o, k, values;
    float2* numbers;

    __device__ __forceinline__ void copy(const AttentionBwd<bf16>& a) const {
        copy_head(q, a.q, queries, 0, pieces_of(queries.count) * PIECE);
        copy_head(d_o, a.d_o, queries, 0, pieces_of(queries.count) * PIECE);
        copy_head(k, a.k, keys, 0, pieces_of(keys.count) * PIECE);
        commit_copies();
    }

    // The values of piece `i` of the keys, in turns.
    __device__ __forceinline__ void copy_values(const AttentionBwd<bf16>& a, uint32_t i) const {
        const Tile<WIDTH> place = {values.address + i % VALUES_PLACES * VALUES_BYTES};
        copy_head(place, a.v, keys, i % pieces_of(keys.count) * PIECE, PIECE);
        commit_copies();
    }

    // Works out the numbers of all queries, eight lanes a row; zeros of those that fill up the last piece.
    __device__ __forceinline__ void measure(const AttentionBwd<bf16>& a) const {
        const uint32_t chunk = lane() % 8;
        for (uint32_t first = 0; first < pieces_of(queries.count) * PIECE; first += blockDim.x / 8) {
            const uint32_t row = first + threadIdx.x / 8;
            const bool there = row < queries.count;
            float delta = 0;
            if (there) delta = dot(load(d_o, row, chunk), *(const uint4*)(a.o + queries.place(row, chunk * 8)), 0);
            for (uint32_t apart = 1; apart <= 4; apart *= 2) delta += __shfl_xor_sync(ALL_LANES, delta, apart);
            if (chunk != 0 || row >= pieces_of(queries.count) * PIECE) continue;
            const size_t place = (size_t)(queries.first + row) * gridDim.y + blockIdx.y;
            numbers[row] = {there ? a.log_sum[place] * LOG2_E : 0.0f, delta};
        }
    }
};

template <Weights WEIGHTS>
__device__ __forceinline__ void make_keys(const Whole& whole, const AttentionBwd<bf16>& a, BlockBwd<Side::KEYS> block,
                                          const Helpers& helpers) {
    const uint32_t warps = blockDim.x / WARP, warp = uniform(threadIdx.x / WARP);
    for (block.row = warp * PIECE; block.row < whole.keys.count; block.row += warps * PIECE) {
        StripBwd strip = {};
#pragma unroll
        for (uint32_t i = 0; i < WIDTH / 16; i++) {
            strip.own[0][i] = whole.k.left(block.row, i * 16);
            strip.own[1][i] = as_left(whole.keys.load(a.v, block.row, i * 16));
        }
#pragma unroll 1
        for (uint32_t first = block.causal ? block.row : 0; first < whole.queries.count; first += PIECE) {
            const uint32_t numbers = shared_address(whole.numbers + first);
            add<Side::KEYS, WEIGHTS>(strip, block, {first, whole.q, whole.d_o, first, first, numbers}, helpers);
        }
        store<Side::KEYS>(strip, a, whole.keys, block.row);
    }
}

// The values' first piece is on its way.
template <Weights WEIGHTS>
__device__ __forceinline__ void make_queries(const Whole& whole, const AttentionBwd<bf16>& a,
                                             BlockBwd<Side::QUERIES> block, const Helpers& helpers) {
    const uint32_t warps = blockDim.x / WARP, warp = uniform(threadIdx.x / WARP);
    uint32_t turn = 0;
    for (uint32_t begin = 0; begin < whole.queries.count; begin += warps * PIECE) {
        block.row = begin + warp * PIECE;
        const bool idle = block.row >= whole.queries.count;
        StripBwd strip = {};
        if (!idle) {
#pragma unroll
            for (uint32_t i = 0; i < WIDTH / 16; i++) {
                strip.own[0][i] = whole.q.left(block.row, i * 16);
                strip.own[1][i] = whole.d_o.left(block.row, i * 16);
            }
            for (uint32_t j = 0; j < 2; j++) {
                const float2 numbers = whole.numbers[block.row + lane() / 4 + j * 8];
                strip.log_sum[j] = numbers.x;
                strip.delta[j] = numbers.y;
            }
        }
        for (uint32_t first = 0; first < whole.keys.count; first += PIECE, turn++) {
            wait_for_copies<0>();
            __syncthreads();
            whole.copy_values(a, turn + 1);
            if (idle || !block.sees(first)) continue;
            const Tile<WIDTH> values = {whole.values.address + turn % VALUES_PLACES * VALUES_BYTES};
            add<Side::QUERIES, WEIGHTS>(strip, block, {first, whole.k, values, first, 0, 0}, helpers);
        }
        store<Side::QUERIES>(strip, a, whole.queries, block.row);
    }
    wait_for_copies<0>();
}

// Of segments of up to `rows` queries and `cols` keys, both multiples of 16.
template <Weights WEIGHTS>
__device__ __forceinline__ void attend_bwd_whole(const AttentionBwd<bf16>& a, const Bias<bf16>& bias, bool causal,
                                                 const Mask& mask, uint32_t rows, uint32_t cols) {
    extern __shared__ __align__(128) unsigned char shared[];
    const uint32_t stride = gridDim.y * WIDTH, warps = blockDim.x / WARP;
    const Span queries = segment(a.rows, blockIdx.z), keys = segment(a.cols, blockIdx.z);
    const uint32_t q = shared_address(shared), d_o = q + rows * WIDTH * 2, k = d_o + rows * WIDTH * 2;
    const uint32_t values = k + cols * WIDTH * 2, behind = values + VALUES_PLACES * VALUES_BYTES;
    float2* const numbers = (float2*)(shared + (behind - q));
    float* const folded = (float*)(numbers + rows);
    const Whole whole = {{queries.first, queries.count, stride}, {keys.first, keys.count, stride}, {q}, {d_o}, {k},
                         {values}, numbers};
    const BiasRow<PIECE> near = {folded + warps * 8 * FOLDED, (int)bias.reach};
    const bool graded = bias.table != nullptr;
    const BiasGrad<PIECE> grad = {near, near.row + near.length() + bias.buckets, graded ? warps : 0};
    whole.copy(a);
    near.begin(bias, blockDim.x);
    grad.clear();
    wait_for_copies<0>();
    __syncthreads();
    near.finish(bias, blockDim.x);
    whole.measure(a);
    if (keys.count > 0) whole.copy_values(a, 0);
    __syncthreads();
    make_keys<WEIGHTS>(whole, a, {queries, keys, causal, 0}, {near, mask, nullptr, nullptr});
    const uint32_t warp = uniform(threadIdx.x / WARP);
    make_queries<WEIGHTS>(whole, a, {queries, keys, causal, 0},
                          {near, mask, folded + warp * 8 * FOLDED, graded ? grad.row(warp) : nullptr});
    if (graded) grad.write(bias, a.dbias);
}

}  // namespace tiled
