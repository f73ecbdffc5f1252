// The backward pass of attention on tensor cores: bf16, heads of 64.
//
// Whichever side a block owns, a warp has 16 rows of it in registers, and the other side goes by in steps of 32, three
// of them on their way while the warps are at one. As in plain arithmetic, x = own₀·passing₀ᵀ are logits and
// y = own₁·passing₁ᵀ gradients of weights, where 0 is q or k and 1 is do or v; a warp has 16 × 16 of each at a time.
#pragma once

#include "attention_bwd.cuh"
#include "attention_tiled.cuh"

namespace tiled {

// Warps of a block, at most: a question with a passage, 352 tokens, are two blocks then.
constexpr uint32_t BWD_WARPS = 11;
constexpr uint32_t PIECE = 16;

// Steps on their way, and places for a step's two tiles and, behind them, its queries' numbers.
constexpr uint32_t BWD_AHEAD = 3, BWD_PLACES = 4;
constexpr uint32_t NUMBERS_BYTES = STEP * sizeof(float2);
constexpr uint32_t PLACE_BYTES = 2 * TILE_BYTES + NUMBERS_BYTES;

// A warp's 16 rows.
struct StripBwd {
    Left own[2][WIDTH / 16];
    Sum by_logit[WIDTH / 16];   // Σ ds · passing₀
    Sum by_weight[WIDTH / 16];  // Σ weight · passing₁; of keys alone
    float log_sum[2];           // in powers of two, of the rows lane/4 and lane/4 + 8; of queries alone
    float delta[2];
};

// A matrix's rows from `first` on, `count` of them there, of this block's head.
struct Head {
    uint32_t first, count, stride;

    __device__ __forceinline__ size_t place(uint32_t row, uint32_t col) const {
        return (size_t)(first + row) * stride + blockIdx.y * WIDTH + col;
    }
    // This lane's piece of the 16 × 16 block from `row` and `col` on, eight numbers; zeros of a row that is not there.
    __device__ __forceinline__ uint4 load(const bf16* from, uint32_t row, uint32_t col) const {
        const uint32_t own = row + piece_row();
        return own < count ? *(const uint4*)(from + place(own, col + piece_col())) : uint4{0, 0, 0, 0};
    }
    __device__ __forceinline__ void store(bf16* to, uint32_t row, uint32_t col, const Sum& sum) const {
        const uint32_t own = row + piece_row();
        Left piece = narrow(sum);
        transpose_quad(piece.r);
        if (own >= count) return;
        *(uint4*)(to + place(own, col + piece_col())) = make_uint4(piece.r[0], piece.r[1], piece.r[2], piece.r[3]);
    }
};

__device__ __forceinline__ Left as_left(uint4 piece) {
    Left left = {{piece.x, piece.y, piece.z, piece.w}};
    transpose_quad(left.r);
    return left;
}

__device__ __forceinline__ float dot(uint4 a, uint4 b, float sum) {
    const Pack<8> x = unpack(a, bf16{}), y = unpack(b, bf16{});
#pragma unroll
    for (int i = 0; i < 8; i++) sum = fmaf(x[i], y[i], sum);
    return sum;
}

// Fills a strip with queries from `row` on and their gradients; and leaves their numbers to the keys.
__device__ __forceinline__ void begin_queries(StripBwd& strip, const AttentionBwd<bf16>& a, Head queries,
                                              uint32_t row) {
    float delta = 0;
#pragma unroll
    for (uint32_t i = 0; i < WIDTH / 16; i++) {
        const uint4 d_o = queries.load(a.d_o, row, i * 16);
        delta = dot(d_o, queries.load(a.o, row, i * 16), delta);
        strip.own[0][i] = as_left(queries.load(a.q, row, i * 16));
        strip.own[1][i] = as_left(d_o);
    }
    // Two lanes have a row's halves between them.
    delta += __shfl_xor_sync(ALL_LANES, delta, 2);
    const uint32_t own = row + piece_row();
    const bool there = own < queries.count;
    const float log_sum = there ? a.log_sum[(size_t)(queries.first + own) * gridDim.y + blockIdx.y] * LOG2_E : 0.0f;
    if (there && lane() % 4 < 2) *a.query(queries.first + own) = {log_sum, delta};
    for (uint32_t j = 0; j < 2; j++) {
        strip.log_sum[j] = __shfl_sync(ALL_LANES, log_sum, lane() / 4 * 4 + j);
        strip.delta[j] = __shfl_sync(ALL_LANES, delta, lane() / 4 * 4 + j);
    }
}

__device__ __forceinline__ void begin_keys(StripBwd& strip, const AttentionBwd<bf16>& a, Head keys, uint32_t row) {
#pragma unroll
    for (uint32_t i = 0; i < WIDTH / 16; i++) {
        strip.own[0][i] = as_left(keys.load(a.k, row, i * 16));
        strip.own[1][i] = as_left(keys.load(a.v, row, i * 16));
    }
}

// The side that passes by, a step after the other, in shared memory.
template <Side SIDE> struct Passing {
    const bf16 *from_0, *from_1;
    const float2* of_query;  // of the segment's first query
    Head rows;
    uint32_t places, end;

    __device__ __forceinline__ uint32_t place(uint32_t first) const {
        return places + first / STEP % BWD_PLACES * PLACE_BYTES;
    }

    // Starts copying a step, if it begins before the end. It is a group of copies in any case.
    __device__ __forceinline__ void copy(uint32_t first) const {
        if (first < end) {
            for (uint32_t i = threadIdx.x; i < 2 * STEP * 8; i += blockDim.x) {
                const uint32_t which = i / (STEP * 8), row = i / 8 % STEP, chunk = i % 8;
                const Tile<WIDTH> to = {place(first) + which * TILE_BYTES};
                const uint32_t from = first + row, there = from < rows.count;
                copy_async(to.chunk(row, chunk), (which ? from_1 : from_0) + rows.place(there ? from : 0, chunk * 8),
                           there ? 16 : 0);
            }
            if constexpr (SIDE == Side::KEYS) {
                if (threadIdx.x < STEP) {
                    const uint32_t from = first + threadIdx.x, there = from < rows.count;
                    copy_async_8(place(first) + 2 * TILE_BYTES + threadIdx.x * sizeof(float2),
                                 of_query + (there ? from : 0), there ? 8 : 0);
                }
            }
        }
        commit_copies();
    }
};

// The numbers of two neighbouring queries, the first an even one, of those from `numbers` on in shared memory.
__device__ __forceinline__ float4 load_numbers(uint32_t numbers, uint32_t query) {
    float4 x;
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
                 : "r"(numbers + query * (uint32_t)sizeof(float2))
                 : "memory");
    return x;
}

// f(c, i, j) for a lane's elements of a 16 × 16 block: row lane/4 + 8·j, column 8·c + lane%4·2 + i.
template <class F> __device__ __forceinline__ void each_element(F f) {
#pragma unroll
    for (uint32_t c = 0; c < 2; c++) {
#pragma unroll
        for (uint32_t j = 0; j < 2; j++) {
#pragma unroll
            for (uint32_t i = 0; i < 2; i++) f(c, i, j);
        }
    }
}
__device__ __forceinline__ float& at(Sum& sum, uint32_t c, uint32_t i, uint32_t j) { return sum.half[c][j * 2 + i]; }

// What the mask multiplies a lane's elements by: 16 bits for each.
struct Kept {
    uint32_t bits[2][2];  // of c and, for queries, j; for keys, i

    // Rows are queries from `query`, a number in the whole batch, and columns keys from `key` on.
    __device__ __forceinline__ void draw_rows(const Mask& mask, uint32_t query, uint32_t key) {
        for (uint32_t c = 0; c < 2; c++) draw(bits[c], mask, query + lane() / 4, key + c * 8);
    }

    // Rows are keys, columns queries. Four lanes share the words of their queries, each for a key of its own: a lane
    // draws two of eight and keeps its 16 bits of all of them.
    __device__ __forceinline__ void draw_cols(const Mask& mask, uint32_t query, uint32_t key) {
        const uint32_t low = lane() / 4 % 2, high = lane() / 8 % 2;
        const uint32_t row = (query + high * 8 + lane() % 4 * 2 + low) * gridDim.y + blockIdx.y;
        uint32_t half[2][2];  // of c and j
#pragma unroll
        for (uint32_t j = 0; j < 2; j++) {
            const uint64_t word = mask.word(row, key / 4 + j * 2 + lane() / 16);
            const uint32_t lower = word, upper = word >> 32;
            const uint32_t own = high ? upper : lower;
            const uint32_t other = __shfl_xor_sync(ALL_LANES, high ? lower : upper, 8);
            half[0][j] = high ? other : own;
            half[1][j] = high ? own : other;
        }
#pragma unroll
        for (uint32_t c = 0; c < 2; c++) {
            const uint32_t lower = __byte_perm(half[c][0], half[c][1], 0x5410);
            const uint32_t upper = __byte_perm(half[c][0], half[c][1], 0x7632);
            const uint32_t own = low ? upper : lower;
            const uint32_t other = __shfl_xor_sync(ALL_LANES, low ? lower : upper, 4);
            bits[c][0] = low ? other : own;
            bits[c][1] = low ? own : other;
        }
    }

    template <Side SIDE>
    __device__ __forceinline__ float factor(const Mask& mask, uint32_t c, uint32_t i, uint32_t j) const {
        return SIDE == Side::QUERIES ? mask.factor(bits[c][j] >> i * 16) : mask.factor(bits[c][i] >> j * 16);
    }
};

// The sums along the diagonals of a 16 × 16 block of gradients of logits, whose rows are queries, to the row of sums at
// `corner`. What lies on one diagonal of the block's quarters is added first, and then, in the warp's own 8 × 24
// numbers of shared memory, a lane adds a diagonal.
constexpr uint32_t FOLDED = 24;
__device__ __forceinline__ void add_diagonals(Sum& ds, float* folded, float* corner) {
    float2* const own = (float2*)(folded + lane() / 4 * FOLDED) + lane() % 4;
    const auto pair = [&](uint32_t c, uint32_t j) { return float2{at(ds, c, 0, j), at(ds, c, 1, j)}; };
    const float2 upper = pair(0, 0), lower = pair(1, 1);
    own[0] = pair(0, 1);
    own[4] = {upper.x + lower.x, upper.y + lower.y};
    own[8] = pair(1, 0);
    __syncwarp();
    const int diagonal = (int)lane() - (int)(PIECE - 1);
    float sum = 0;
#pragma unroll
    for (int row = 0; row < 8; row++) {
        const int col = diagonal + row + 8;
        if (col >= 0 && col < (int)FOLDED) sum += folded[row * FOLDED + col];
    }
    if (lane() < 2 * PIECE - 1) corner[diagonal] += sum;
    __syncwarp();
}

// What a block has, and where its warp is.
template <Side SIDE> struct BlockBwd {
    static constexpr bool OF_QUERIES = SIDE == Side::QUERIES;
    Span queries, keys;
    bool causal;
    uint32_t row;  // of the warp's own side, in its segment

    __device__ __forceinline__ Span own() const { return OF_QUERIES ? queries : keys; }
    __device__ __forceinline__ Span other() const { return OF_QUERIES ? keys : queries; }

    // Whether of the piece of 16 from `first` on, of the other side, any is seen at all; and whether all of it is.
    __device__ __forceinline__ bool sees(uint32_t first) const {
        return !causal || (OF_QUERIES ? first < row + PIECE : row < first + PIECE);
    }
    __device__ __forceinline__ bool sees_all(uint32_t first) const {
        const bool diagonal = causal && (OF_QUERIES ? first + PIECE > row + 1 : row + PIECE > first + 1);
        return first + PIECE <= other().count && row + PIECE <= own().count && !diagonal;
    }
    // Whether the element of a row and a column of the block does not count.
    __device__ __forceinline__ bool hides(uint32_t own_row, uint32_t other_row) const {
        const uint32_t query = OF_QUERIES ? own_row : other_row, key = OF_QUERIES ? other_row : own_row;
        return query >= queries.count || key >= keys.count || (causal && key > query);
    }
};

// Turns logits x and gradients y of the masked weights into gradients of logits and masked weights. `numbers` are of
// the lane's four columns, for keys; `diagonal` is the bias at the lane's first element.
template <Side SIDE, Weights WEIGHTS>
__device__ __forceinline__ void soften(Sum& x, Sum& y, const StripBwd& strip, const BlockBwd<SIDE>& block,
                                       uint32_t first, const float4 (&numbers)[2], const float* diagonal,
                                       const Mask& mask) {
    constexpr bool OF_QUERIES = SIDE == Side::QUERIES;
    Kept kept;
    if constexpr (WEIGHTS == Weights::MASKED) {
        if constexpr (OF_QUERIES) {
            kept.draw_rows(mask, block.queries.first + block.row, first);
        } else {
            kept.draw_cols(mask, block.queries.first + first, block.row);
        }
    }
    const bool whole = block.sees_all(first);
    each_element([&](uint32_t c, uint32_t i, uint32_t j) {
        const int across = ((int)c - (int)j) * 8 + (int)i;
        const float bias = diagonal[OF_QUERIES ? across : -across];
        const float log_sum = OF_QUERIES ? strip.log_sum[j] : i ? numbers[c].z : numbers[c].x;
        const float delta = OF_QUERIES ? strip.delta[j] : i ? numbers[c].w : numbers[c].y;
        float weight = power_of_two(fmaf(at(x, c, i, j), LOG2_E, bias) - log_sum);
        if (!whole && block.hides(block.row + lane() / 4 + j * 8, first + c * 8 + lane() % 4 * 2 + i)) weight = 0;
        float gradient = at(y, c, i, j);
        if constexpr (WEIGHTS == Weights::MASKED) gradient *= kept.factor<SIDE>(mask, c, i, j);
        at(x, c, i, j) = weight * (gradient - delta);
        if constexpr (WEIGHTS == Weights::MASKED) weight *= kept.factor<SIDE>(mask, c, i, j);
        at(y, c, i, j) = weight;
    });
}

// sum += weights·passing
__device__ __forceinline__ void accumulate(Sum (&sum)[WIDTH / 16], const Sum& weights, Tile<WIDTH> passing,
                                           uint32_t row) {
    const Left left = narrow(weights);
#pragma unroll
    for (uint32_t i = 0; i < WIDTH / 16; i++) multiply(sum[i], left, passing.right_transposed(row, i * 16));
}

// What a warp needs besides its strip, whichever side it has.
struct Helpers {
    BiasRow<PIECE> near;
    Mask mask;
    float* folded;  // of the warp
    float* sums;    // of the warp, by distance; null where there is no gradient of a bias
};

// 16 rows of the other side, from `row_0` on of one tile and from `row_1` on of another. `numbers` is where those of
// the piece's queries are in shared memory; of keys alone.
struct Piece {
    uint32_t first;
    Tile<WIDTH> tile_0, tile_1;
    uint32_t row_0, row_1, numbers;
};

template <Side SIDE, Weights WEIGHTS>
__device__ __forceinline__ void add(StripBwd& strip, const BlockBwd<SIDE>& block, const Piece& piece,
                                    const Helpers& helpers) {
    constexpr bool OF_QUERIES = SIDE == Side::QUERIES;
    Sum x = {}, y = {};
#pragma unroll
    for (uint32_t i = 0; i < WIDTH / 16; i++) {
        multiply(x, strip.own[0][i], piece.tile_0.right(piece.row_0, i * 16));
        multiply(y, strip.own[1][i], piece.tile_1.right(piece.row_1, i * 16));
    }
    float4 numbers[2];
    if constexpr (!OF_QUERIES) {
        for (uint32_t c = 0; c < 2; c++) numbers[c] = load_numbers(piece.numbers, c * 8 + lane() % 4 * 2);
    }
    const BiasRow<PIECE>& near = helpers.near;
    const int across = (int)(lane() % 4 * 2) - (int)(lane() / 4);
    const float* const diagonal = OF_QUERIES ? near.corner(piece.first, block.row) + across
                                             : near.corner(block.row, piece.first) - across;
    soften<SIDE, WEIGHTS>(x, y, strip, block, piece.first, numbers, diagonal, helpers.mask);
    accumulate(strip.by_logit, x, piece.tile_0, piece.row_0);
    if constexpr (!OF_QUERIES) accumulate(strip.by_weight, y, piece.tile_1, piece.row_1);
    if (OF_QUERIES && helpers.sums != nullptr) {
        add_diagonals(x, helpers.folded, helpers.sums + near.place(piece.first, block.row));
    }
}

template <Side SIDE>
__device__ __forceinline__ void store(const StripBwd& strip, const AttentionBwd<bf16>& a, Head rows, uint32_t row) {
    constexpr bool OF_QUERIES = SIDE == Side::QUERIES;
#pragma unroll
    for (uint32_t i = 0; i < WIDTH / 16; i++) {
        rows.store(OF_QUERIES ? a.dq : a.dk, row, i * 16, strip.by_logit[i]);
        if constexpr (!OF_QUERIES) rows.store(a.dv, row, i * 16, strip.by_weight[i]);
    }
}

template <Side SIDE, Weights WEIGHTS>
__device__ __forceinline__ void attend_bwd(const AttentionBwd<bf16>& a, const Bias<bf16>& bias, bool causal,
                                           const Mask& mask) {
    extern __shared__ __align__(128) unsigned char shared[];
    constexpr bool OF_QUERIES = SIDE == Side::QUERIES;
    const uint32_t stride = gridDim.y * WIDTH, warps = blockDim.x / WARP, warp = uniform(threadIdx.x / WARP);
    const uint32_t block_rows = warps * PIECE, block_row = blockIdx.x * block_rows;
    const BlockBwd<SIDE> block = {segment(a.rows, blockIdx.z), segment(a.cols, blockIdx.z), causal,
                                  block_row + warp * PIECE};
    const Span own = block.own(), other = block.other();
    const bool graded = OF_QUERIES && bias.table != nullptr;
    if (block_row >= own.count) {
        if (graded) BiasGrad<PIECE>::write_nothing(bias, a.dbias);
        return;
    }

    // Of a block that looks back, or is looked back at, the other half of its segment is none of its business.
    const uint32_t begin = causal && !OF_QUERIES ? block_row / STEP * STEP : 0;
    const uint32_t end = causal && OF_QUERIES ? min(other.count, block_row + block_rows) : other.count;
    const Passing<SIDE> passing = {OF_QUERIES ? a.k : a.q, OF_QUERIES ? a.v : a.d_o, a.query(block.queries.first),
                                   {other.first, other.count, stride}, shared_address(shared), end};
    for (uint32_t i = 0; i < BWD_AHEAD; i++) passing.copy(begin + i * STEP);
    float* const folded = (float*)(shared + BWD_PLACES * PLACE_BYTES);
    const BiasRow<PIECE> near = {folded + warps * 8 * FOLDED, (int)bias.reach};
    const BiasGrad<PIECE> grad = {near, near.row + near.length() + bias.buckets, graded ? warps : 0};
    near.begin(bias, blockDim.x);
    grad.clear();
    __syncthreads();
    near.finish(bias, blockDim.x);
    const Helpers helpers = {near, mask, folded + warp * 8 * FOLDED, graded ? grad.row(warp) : nullptr};
    const Head rows = {own.first, own.count, stride};
    StripBwd strip = {};
    if constexpr (OF_QUERIES) {
        begin_queries(strip, a, rows, block.row);
    } else {
        begin_keys(strip, a, rows, block.row);
    }

    for (uint32_t first = begin; first < end; first += STEP) {
        wait_for_copies<BWD_AHEAD - 1>();
        __syncthreads();
        passing.copy(first + BWD_AHEAD * STEP);
        const uint32_t place = passing.place(first);
        for (uint32_t part = 0; part < STEP; part += PIECE) {
            if (block.row >= own.count || first + part >= end || !block.sees(first + part)) continue;
            const uint32_t numbers = place + 2 * TILE_BYTES + part * (uint32_t)sizeof(float2);
            const Piece piece = {first + part, {place}, {place + TILE_BYTES}, part, part, numbers};
            add<SIDE, WEIGHTS>(strip, block, piece, helpers);
        }
    }
    store<SIDE>(strip, a, rows, block.row);
    if (graded) grad.write(bias, a.dbias);
}

}  // namespace tiled
