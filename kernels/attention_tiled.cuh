// Attention on tensor cores: bf16, heads of 64.
//
// A warp has 32 rows of one head of one segment, a block up to four warps. Keys and values go by in steps of 32, the
// next ones on their way while the warps are at this one. Of the logits, a step's 32 × 32 are all that a warp ever has,
// in registers. What a segment lacks is not computed, nor steps that lie wholly in the future: where rows and keys are
// multiples of 32, every mma is useful.
#pragma once

#include "attention.cuh"
#include "mask.cuh"
#include "mma.cuh"

namespace tiled {

constexpr uint32_t WIDTH = 64;
constexpr uint32_t WARP_ROWS = 32;
constexpr uint32_t STEP = 32;
constexpr uint32_t TILE_BYTES = STEP * WIDTH * 2;

// A block of so many warps.
template <uint32_t WARPS> struct Block {
    static constexpr uint32_t THREADS = WARPS * WARP;
    static constexpr uint32_t ROWS = WARPS * WARP_ROWS;
    // Steps on their way, and places for a step's keys and values. Of small blocks there are many: one's copies come
    // while others multiply.
    static constexpr uint32_t AHEAD = WARPS == 4 ? 2 : 1;
    static constexpr uint32_t PLACES = 2 * AHEAD;
    static constexpr uint32_t SHARED_BYTES = PLACES * 2 * TILE_BYTES;  // and a row of biases behind it
    static_assert(ROWS * WIDTH * 2 <= (PLACES - AHEAD) * 2 * TILE_BYTES, "queries fit where no keys are yet");
};

// By how much, in powers of two, weights may exceed 1 before a row's sums are scaled to its new peak. The sums are f32
// and a weight has an exponent of its own, so nothing is lost; and past a segment's first keys few peaks rise as much.
constexpr float HEADROOM = 8.0f;

// A number for each row that a lane has elements of: row 16·i + 8·j + lane/4 of 32.
using PerRow = float[2][2];

// A warp's 32 rows.
struct Strip {
    Left q[2][WIDTH / 16];
    Sum o[2][WIDTH / 16];  // Σ weight · v
    PerRow peak;           // what weights are relative to
    PerRow mass;           // Σ weight, of the keys whose columns are this lane's
};

// Logits of 32 rows and 32 keys, and then their weights.
struct Scores {
    Sum block[2][2];

    // Element `i` of a lane's eight in one row, and its column.
    __device__ float& at(uint32_t row, uint32_t half, uint32_t i) {
        return block[row][i / 4].half[i / 2 % 2][half * 2 + i % 2];
    }
    __device__ static uint32_t col(uint32_t i) { return i / 2 * 8 + lane() % 4 * 2 + i % 2; }
};

// f(i, j) for the four rows of a lane.
template <class F> __device__ __forceinline__ void each_row(F f) {
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
#pragma unroll
        for (uint32_t j = 0; j < 2; j++) f(i, j);
    }
}

// s = q·kᵀ
__device__ __forceinline__ Scores product(const Strip& strip, Tile<WIDTH> k) {
    Scores s = {};
#pragma unroll
    for (uint32_t keys = 0; keys < STEP; keys += 16) {
#pragma unroll
        for (uint32_t col = 0; col < WIDTH; col += 16) {
            const Right b = k.right(keys, col);
            for (uint32_t i = 0; i < 2; i++) multiply(s.block[i][keys / 16], strip.q[i][col / 16], b);
        }
    }
    return s;
}

// o += s·v
__device__ __forceinline__ void accumulate(Strip& strip, const Scores& s, Tile<WIDTH> v) {
#pragma unroll
    for (uint32_t keys = 0; keys < STEP; keys += 16) {
        const Left weights[2] = {narrow(s.block[0][keys / 16]), narrow(s.block[1][keys / 16])};
#pragma unroll
        for (uint32_t col = 0; col < WIDTH; col += 16) {
            const Right b = v.right_transposed(keys, col);
            for (uint32_t i = 0; i < 2; i++) multiply(strip.o[i][col / 16], weights[i], b);
        }
    }
}

// Adds the bias, in powers of two. Along a diagonal it is one number: a lane's 32 elements have 14.
__device__ __forceinline__ void add_bias(Scores& s, const float* corner) {
    const float* own = corner + (int)(lane() % 4 * 2) - (int)(lane() / 4);
    float near[7][2];
#pragma unroll
    for (int diagonal = 0; diagonal < 7; diagonal++) {
        near[diagonal][0] = own[(diagonal - 3) * 8];
        near[diagonal][1] = own[(diagonal - 3) * 8 + 1];
    }
    each_row([&](uint32_t row, uint32_t half) {
#pragma unroll
        for (uint32_t i = 0; i < 8; i++) {
            float& x = s.at(row, half, i);
            x = fmaf(x, LOG2_E, near[i / 2 + 3 - row * 2 - half][i % 2]);
        }
    });
}

// Shuts out the keys from `end(i, j)` on.
template <class F> __device__ __forceinline__ void mask(Scores& s, F end) {
    each_row([&](uint32_t row, uint32_t half) {
#pragma unroll
        for (uint32_t i = 0; i < 8; i++) {
            if (Scores::col(i) >= end(row, half)) s.at(row, half, i) = MINUS_INFINITY;
        }
    });
}

// The highest of four neighbours, which have a row between them; likewise their sum.
__device__ __forceinline__ float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
    return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
}
__device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    return x + __shfl_xor_sync(ALL_LANES, x, 2);
}

__device__ __forceinline__ float highest(const Strip& strip, Scores& s, uint32_t row, uint32_t half) {
    float x = strip.peak[row][half];
#pragma unroll
    for (uint32_t i = 0; i < 8; i++) x = fmaxf(x, s.at(row, half, i));
    return x;
}

// Makes the highest logits so far the rows' peaks.
__device__ __forceinline__ void raise(Strip& strip, Scores& s) {
    each_row([&](uint32_t row, uint32_t half) {
        const float peak = quad_max(highest(strip, s, row, half));
        const float shrink = power_of_two(strip.peak[row][half] - peak);
        strip.peak[row][half] = peak;
        strip.mass[row][half] *= shrink;
#pragma unroll
        for (uint32_t col = 0; col < WIDTH / 8; col++) {
            float(&o)[4] = strip.o[row][col / 2].half[col % 2];
            o[half * 2] *= shrink;
            o[half * 2 + 1] *= shrink;
        }
    });
}

// Turns logits into weights.
__device__ __forceinline__ void soften(Strip& strip, Scores& s) {
    bool higher = false;
    each_row([&](uint32_t row, uint32_t half) {
        higher |= highest(strip, s, row, half) > strip.peak[row][half] + HEADROOM;
    });
    if (__any_sync(ALL_LANES, higher)) raise(strip, s);
    each_row([&](uint32_t row, uint32_t half) {
#pragma unroll
        for (uint32_t i = 0; i < 8; i++) {
            float& x = s.at(row, half, i);
            x = power_of_two(x - strip.peak[row][half]);
            strip.mass[row][half] += x;
        }
    });
}

// Whether weights are dropped. What is not asked for costs nothing.
enum class Weights { WHOLE, MASKED };

// The masks' 16 bits of a lane's two columns and its two rows, 8 apart, of a block of 8 columns from `key` on. `row` is
// the first one's number in the whole batch. Neighbours share a word of each row, draw one of the two, and exchange.
__device__ __forceinline__ void draw(uint32_t (&bits)[2], const Mask& mask, uint32_t row, uint32_t key) {
    const uint32_t odd = lane() % 2;
    const uint64_t word = mask.word((row + odd * 8) * gridDim.y + blockIdx.y, key / 4 + lane() % 4 / 2);
    const uint32_t low = word, high = word >> 32;
    const uint32_t own = odd ? high : low, other = __shfl_xor_sync(ALL_LANES, odd ? low : high, 1);
    bits[0] = odd ? other : own;
    bits[1] = odd ? own : other;
}

// Drops weights. `row` is the number of the strip's first row in the whole batch.
__device__ __forceinline__ void drop(Scores& s, const Mask& mask, uint32_t row, uint32_t key) {
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
#pragma unroll
        for (uint32_t col = 0; col < STEP; col += 8) {
            uint32_t bits[2];
            draw(bits, mask, row + i * 16 + lane() / 4, key + col);
            for (uint32_t half = 0; half < 2; half++) {
                s.at(i, half, col / 4) *= mask.factor(bits[half]);
                s.at(i, half, col / 4 + 1) *= mask.factor(bits[half] >> 16);
            }
        }
    }
}

// Starts copying `ROWS` rows of one head, of which `left` are there, from row `first` of `from` on.
template <uint32_t ROWS, uint32_t THREADS>
__device__ __forceinline__ void copy_rows(Tile<WIDTH> to, const bf16* from, uint32_t first, uint32_t stride, int left) {
    const uint32_t row = threadIdx.x / 8, chunk = threadIdx.x % 8;
    // A row's number and the stride have 32 bits: so it is one instruction to get there.
    from += (size_t)(first + row) * stride + chunk * 8;
#pragma unroll
    for (uint32_t part = 0; part < ROWS; part += THREADS / 8) {
        const bool there = (int)(row + part) < left;
        copy_async(to.chunk(row + part, chunk), from + (size_t)part * stride, there ? 16 : 0);
    }
}

// The keys and values of one head of one segment, a step after the other, in shared memory.
template <class B> struct Steps {
    const bf16 *k, *v;
    Span keys;
    uint32_t stride, places;

    // Step `key` begins with that key.
    __device__ __forceinline__ Tile<WIDTH> k_tile(uint32_t key) const {
        return {places + key / STEP % B::PLACES * 2 * TILE_BYTES};
    }
    __device__ __forceinline__ Tile<WIDTH> v_tile(uint32_t key) const { return {k_tile(key).address + TILE_BYTES}; }

    // Starts copying a step, if it begins before `end`. It is a group of copies in any case.
    __device__ __forceinline__ void copy(uint32_t key, uint32_t end) const {
        if (key < end) {
            copy_rows<STEP, B::THREADS>(k_tile(key), k, keys.first + key, stride, keys.count - key);
            copy_rows<STEP, B::THREADS>(v_tile(key), v, keys.first + key, stride, keys.count - key);
        }
        commit_copies();
    }
};

// Writes the rows from `row` on of the segment's `queries`.
__device__ __forceinline__ void write(Strip& strip, const Attention<bf16>& a, Span queries, uint32_t row) {
    const uint32_t head = blockIdx.y, heads = gridDim.y;
    PerRow scale;
    each_row([&](uint32_t i, uint32_t j) {
        const float mass = quad_sum(strip.mass[i][j]);
        scale[i][j] = reciprocal(mass);
        const uint32_t position = row + i * 16 + j * 8 + lane() / 4;
        if (a.log_sum != nullptr && lane() % 4 == 0 && position < queries.count) {
            a.log_sum[(size_t)(queries.first + position) * heads + head] = log_sum(strip.peak[i][j], mass);
        }
    });
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        const uint32_t position = row + i * 16 + piece_row();
        bf16* const to = a.o + ((size_t)(queries.first + position) * heads + head) * WIDTH + piece_col();
#pragma unroll
        for (uint32_t col = 0; col < WIDTH; col += 16) {
            Sum& o = strip.o[i][col / 16];
            for (uint32_t e = 0; e < 8; e++) o.half[e / 4][e % 4] *= scale[i][e % 4 / 2];
            Left piece = narrow(o);
            transpose_quad(piece.r);
            if (position < queries.count) {
                *(uint4*)(to + col) = make_uint4(piece.r[0], piece.r[1], piece.r[2], piece.r[3]);
            }
        }
    }
}

template <class B, Weights WEIGHTS>
__device__ __forceinline__ void attend(const Attention<bf16>& a, const Bias<bf16>& bias, bool causal,
                                       const Mask& dropout) {
    extern __shared__ __align__(128) unsigned char shared[];
    const uint32_t head = blockIdx.y, stride = gridDim.y * WIDTH, warp_row = uniform(threadIdx.x / WARP) * WARP_ROWS;
    const Span queries = segment(a.rows, blockIdx.z), keys = segment(a.cols, blockIdx.z);
    const uint32_t block_row = blockIdx.x * B::ROWS, row = block_row + warp_row;
    if (block_row >= queries.count) return;

    // The queries pass through the places that are not needed yet.
    const Steps<B> steps = {a.k + head * WIDTH, a.v + head * WIDTH, keys, stride, shared_address(shared)};
    const uint32_t seen = causal ? min(keys.count, block_row + B::ROWS) : keys.count;
    const Tile<WIDTH> q_tile = steps.k_tile(B::AHEAD * STEP);
    const uint32_t left = queries.count - block_row;
    copy_rows<B::ROWS, B::THREADS>(q_tile, a.q + head * WIDTH, queries.first + block_row, stride, left);
    commit_copies();
    for (uint32_t i = 0; i < B::AHEAD; i++) steps.copy(i * STEP, seen);
    const BiasRow<> near = {(float*)(shared + B::SHARED_BYTES), (int)bias.reach};
    near.begin(bias, B::THREADS);
    wait_for_copies<B::AHEAD>();
    __syncthreads();
    near.finish(bias, B::THREADS);
    Strip strip = {};
    each_row([&](uint32_t i, uint32_t j) { strip.peak[i][j] = MINUS_INFINITY; });
#pragma unroll
    for (uint32_t col = 0; col < WIDTH; col += 16) {
        for (uint32_t i = 0; i < 2; i++) strip.q[i][col / 16] = q_tile.left(warp_row + i * 16, col);
    }

    const bool idle = row >= queries.count;
    for (uint32_t key = 0; key < seen; key += STEP) {
        wait_for_copies<B::AHEAD - 1>();
        __syncthreads();
        steps.copy(key + B::AHEAD * STEP, seen);
        if (idle || (causal && key >= row + WARP_ROWS)) continue;
        Scores s = product(strip, steps.k_tile(key));
        add_bias(s, near.corner(key, row));
        if (key + STEP > keys.count) mask(s, [&](uint32_t, uint32_t) { return keys.count - key; });
        if (causal && key + STEP > row) {
            mask(s, [&](uint32_t i, uint32_t j) { return row + i * 16 + j * 8 + lane() / 4 + 1 - key; });
        }
        soften(strip, s);
        if constexpr (WEIGHTS == Weights::MASKED) drop(s, dropout, queries.first + row, key);
        accumulate(strip, s, steps.v_tile(key));
    }
    write(strip, a, queries, row);
}

}  // namespace tiled
