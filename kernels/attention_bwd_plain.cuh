// The backward pass of attention in plain f32 arithmetic: for f32, and for heads that tensor cores have no kernel of.
//
// Whichever side a block owns, a warp has eight rows of it, the other side goes by in steps of 32, and a lane is one of
// those: x = own₀·passing₀ are logits, y = own₁·passing₁ gradients of weights, where 0 is q or k and 1 is do or v. Then
// each row gathers Σ ds·passing₀, and a key Σ weight·passing₁ besides.
#pragma once

#include "attention_bwd.cuh"
#include "attention_plain.cuh"

namespace plain {

template <uint32_t WIDTH> struct StripBwd {
    // Of wide heads a block has few rows: the two steps that pass by fill its memory.
    static constexpr uint32_t ROWS = WIDTH == 256 ? 2 : 8;
    static constexpr uint32_t BLOCK_ROWS = WARPS * ROWS;
    using Own = Rows<WIDTH, WIDTH, BLOCK_ROWS>;
    using Weighted = Rows<STEP, STEP, BLOCK_ROWS>;
    using Sums = float[ROWS][COLUMNS<WIDTH>];

    float x[ROWS];        // logits, and then their gradients
    float y[ROWS];        // gradients of the masked weights, and then those weights
    float log_sum[ROWS];  // in powers of two, of the row or of the lane's query
    float delta[ROWS];
    Sums by_logit, by_weight;

    // From a logit and the gradient of its weight, which the mask multiplies by `kept`.
    __device__ __forceinline__ void soften(uint32_t i, float bias, bool hidden, float kept) {
        const float weight = hidden ? 0.0f : power_of_two(fmaf(x[i], LOG2_E, bias) - log_sum[i]);
        x[i] = weight * (kept * y[i] - delta[i]);
        y[i] = weight * kept;
    }
};

// Narrows a strip's sums, from row `row` of `rows` on.
template <class T, uint32_t WIDTH, class Sums>
__device__ __forceinline__ void write(T* to, const Sums& sums, Span rows, uint32_t row, uint32_t width) {
    constexpr uint32_t ROWS = StripBwd<WIDTH>::ROWS;
#pragma unroll
    for (uint32_t i = 0; i < ROWS; i++) {
        if (row + i >= rows.count) break;
        T* const place = to + ((size_t)(rows.first + row + i) * gridDim.y + blockIdx.y) * width;
#pragma unroll
        for (uint32_t j = 0; j < COLUMNS<WIDTH>; j++) {
            if (column(j) < width) place[column(j)] = narrow<T>(sums[i][j]);
        }
    }
}

// What the strip's own queries, from `row` on, are to their weights; and leaves it to the keys.
template <class T, uint32_t WIDTH>
__device__ __forceinline__ void measure(StripBwd<WIDTH>& strip, const AttentionBwd<T>& a, Span queries, uint32_t row,
                                        typename StripBwd<WIDTH>::Own d_o, uint32_t width) {
    const uint32_t warp_row = threadIdx.x / WARP * strip.ROWS;
#pragma unroll
    for (uint32_t i = 0; i < strip.ROWS; i++) {
        strip.log_sum[i] = strip.delta[i] = 0;
        if (row + i >= queries.count) continue;
        const size_t place = (size_t)(queries.first + row + i) * gridDim.y + blockIdx.y;
        const float* const own = d_o.at + (warp_row + i) * WIDTH;
        float sum = 0;
#pragma unroll
        for (uint32_t j = 0; j < COLUMNS<WIDTH>; j++) {
            if (column(j) < width) sum += own[column(j)] * widen(a.o[place * width + column(j)]);
        }
        strip.delta[i] = warp_sum(sum);
        strip.log_sum[i] = a.log_sum[place] * LOG2_E;
        if (threadIdx.x % WARP == 0) *a.query(queries.first + row + i) = {strip.log_sum[i], strip.delta[i]};
    }
}

// Adds up the tile of gradients of logits whose first key and query `key` and `query` are, along its diagonals.
template <class Weighted>
__device__ __forceinline__ void add_diagonals(const BiasGrad<>& grad, Weighted ds, uint32_t key, uint32_t query) {
    constexpr int ROWS = Weighted::LENGTH / STEP;
    const int diagonal = (int)threadIdx.x - (ROWS - 1);
    if (diagonal >= (int)STEP) return;
    float sum = 0;
#pragma unroll 4
    for (int row = 0; row < ROWS; row++) {
        const int col = row + diagonal;
        if (col >= 0 && col < (int)STEP) sum += ds.at[row * STEP + col];
    }
    grad.sums[grad.near.place(key, query) + diagonal] += sum;
}

template <Side SIDE, class T, uint32_t WIDTH>
__device__ __forceinline__ void attend_bwd(const AttentionBwd<T>& a, const Bias<T>& bias, bool causal, const Mask& mask,
                                           uint32_t width) {
    extern __shared__ __align__(16) float floats[];
    using Warp = StripBwd<WIDTH>;
    constexpr bool OF_QUERIES = SIDE == Side::QUERIES;
    const Span queries = segment(a.rows, blockIdx.z), keys = segment(a.cols, blockIdx.z);
    const Span own = OF_QUERIES ? queries : keys, passing = OF_QUERIES ? keys : queries;
    const uint32_t lane = threadIdx.x % WARP, warp_row = threadIdx.x / WARP * Warp::ROWS;
    const uint32_t block_row = blockIdx.x * Warp::BLOCK_ROWS, row = block_row + warp_row;
    const bool graded = OF_QUERIES && bias.table != nullptr;
    if (block_row >= own.count) {
        if (graded) BiasGrad<>::write_nothing(bias, a.dbias);
        return;
    }

    const typename Warp::Own own_0 = {floats}, own_1 = {own_0.at + own_0.LENGTH};
    const Tile<WIDTH> tile_0 = {own_1.at + own_1.LENGTH}, tile_1 = {tile_0.at + tile_0.LENGTH};
    const typename Warp::Weighted ds = {tile_1.at + tile_1.LENGTH}, weights = {ds.at + ds.LENGTH};
    const BiasRow<> near = {weights.at + weights.LENGTH, (int)bias.reach};
    const BiasGrad<> grad = {near, near.row + near.length() + bias.buckets, graded ? 1u : 0u};
    const size_t stride = (size_t)gridDim.y * width, head = blockIdx.y * width;
    const size_t from = (own.first + block_row) * stride + head;
    own_0.fill((OF_QUERIES ? a.q : a.k) + from, stride, own.count - block_row, width);
    own_1.fill((OF_QUERIES ? a.d_o : a.v) + from, stride, own.count - block_row, width);
    near.begin(bias, THREADS);
    grad.clear();
    __syncthreads();
    near.finish(bias, THREADS);

    Warp strip = {};
    if constexpr (OF_QUERIES) measure<T, WIDTH>(strip, a, queries, row, own_1, width);
    // Of a block that looks back, or is looked back at, the other half of its segment is none of its business.
    const uint32_t begin = causal && !OF_QUERIES ? block_row / STEP * STEP : 0;
    const uint32_t end = causal && OF_QUERIES ? min(keys.count, block_row + Warp::BLOCK_ROWS) : passing.count;
    for (uint32_t first = begin; first < end; first += STEP) {
        const size_t other = (passing.first + first) * stride + head;
        const uint32_t at = first + lane;
        __syncthreads();
        tile_0.fill((OF_QUERIES ? a.k : a.q) + other, stride, passing.count - first, width);
        tile_1.fill((OF_QUERIES ? a.v : a.d_o) + other, stride, passing.count - first, width);
        __syncthreads();
        if constexpr (!OF_QUERIES) {
            const float2 query = at < queries.count ? *a.query(queries.first + at) : float2{0, 0};
            for (float& x : strip.log_sum) x = query.x;
            for (float& x : strip.delta) x = query.y;
        }
        product(strip.x, own_0, warp_row, tile_0, width);
        product(strip.y, own_1, warp_row, tile_1, width);
        const float* const diagonal = OF_QUERIES ? near.corner(first, row) + lane : near.corner(row, first) - lane;
#pragma unroll
        for (int i = 0; i < (int)Warp::ROWS; i++) {
            const uint32_t query = OF_QUERIES ? row + i : at, key = OF_QUERIES ? at : row + i;
            const bool hidden = query >= queries.count || key >= keys.count || (causal && key > query);
            const float kept = mask.threshold == 0 ? 1.0f : mask_factor(mask, queries.first + query, key);
            strip.soften(i, diagonal[OF_QUERIES ? -i : i], hidden, kept);
            ds.at[(warp_row + i) * STEP + lane] = strip.x[i];
            if constexpr (!OF_QUERIES) weights.at[(warp_row + i) * STEP + lane] = strip.y[i];
        }
        __syncthreads();
        accumulate<WIDTH>(strip.by_logit, ds, warp_row, tile_0);
        if constexpr (!OF_QUERIES) accumulate<WIDTH>(strip.by_weight, weights, warp_row, tile_1);
        if (graded) add_diagonals(grad, ds, first, block_row);
    }
    write<T, WIDTH>(OF_QUERIES ? a.dq : a.dk, strip.by_logit, own, row, width);
    if constexpr (!OF_QUERIES) write<T, WIDTH>(a.dv, strip.by_weight, own, row, width);
    if (graded) grad.write(bias, a.dbias);
}

}  // namespace plain
