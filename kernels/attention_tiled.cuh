// Attention on tensor cores: bf16, heads of 64.
//
// A block is 128 rows of one head of one segment, a warp 32 of them. Keys and values go by in steps of 32, the next two on
// their way while the warps are at one. Of the logits, a step's 32 × 32 are all that a warp ever has, in registers. What a
// segment lacks is not computed, nor steps that lie wholly in the future: where rows and keys are multiples of 32, every
// mma is useful.
#pragma once

#include "attention.cuh"
#include "mma.cuh"

namespace tiled {

constexpr uint32_t WIDTH = 64;
constexpr uint32_t WARPS = 4;
constexpr uint32_t THREADS = WARPS * WARP;
constexpr uint32_t WARP_ROWS = 32;
constexpr uint32_t ROWS = WARPS * WARP_ROWS;
constexpr uint32_t STEP = 32;
constexpr uint32_t AHEAD = 2;   // steps on their way
constexpr uint32_t PLACES = 4;  // for a step's keys and values
constexpr uint32_t TILE_BYTES = STEP * WIDTH * 2;
constexpr uint32_t SHARED_BYTES = PLACES * 2 * TILE_BYTES;  // and a row of biases behind it

// By how much, in powers of two, weights may exceed 1 before a row's sums are scaled to its new peak. The sums are f32
// and a weight has an exponent of its own, so nothing is lost; and past a segment's first keys few peaks rise by as much.
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
    for (uint32_t col = 0; col < WIDTH; col += 16) {
#pragma unroll
        for (uint32_t keys = 0; keys < STEP; keys += 16) {
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

// Makes the highest logits so far the rows' peaks.
__device__ __forceinline__ void raise(Strip& strip, const PerRow& highest) {
    each_row([&](uint32_t i, uint32_t j) {
        const float peak = quad_max(highest[i][j]);
        const float shrink = power_of_two(strip.peak[i][j] - peak);
        strip.peak[i][j] = peak;
        strip.mass[i][j] *= shrink;
#pragma unroll
        for (uint32_t col = 0; col < WIDTH / 8; col++) {
            float(&o)[4] = strip.o[i][col / 2].half[col % 2];
            o[j * 2] *= shrink;
            o[j * 2 + 1] *= shrink;
        }
    });
}

// Turns logits into weights.
__device__ __forceinline__ void soften(Strip& strip, Scores& s) {
    PerRow highest;
    bool higher = false;
    each_row([&](uint32_t row, uint32_t half) {
        float x = strip.peak[row][half];
#pragma unroll
        for (uint32_t i = 0; i < 8; i++) x = fmaxf(x, s.at(row, half, i));
        highest[row][half] = x;
        higher |= x > strip.peak[row][half] + HEADROOM;
    });
    if (__any_sync(ALL_LANES, higher)) raise(strip, highest);
    each_row([&](uint32_t row, uint32_t half) {
#pragma unroll
        for (uint32_t i = 0; i < 8; i++) {
            float& x = s.at(row, half, i);
            x = power_of_two(x - strip.peak[row][half]);
            strip.mass[row][half] += x;
        }
    });
}

// Starts copying `COUNT` rows of one head, of which `left` are there, from row `first` of `from` on. A thread copies one
// chunk of every 16th row.
template <uint32_t COUNT>
__device__ __forceinline__ void copy_rows(Tile<WIDTH> to, const bf16* from, uint32_t first, uint32_t stride, int left) {
    const uint32_t row = threadIdx.x / 8, chunk = threadIdx.x % 8;
    // A row's number and the stride have 32 bits: so it is one instruction to get there.
    from += (size_t)(first + row) * stride + chunk * 8;
#pragma unroll
    for (uint32_t part = 0; part < COUNT; part += THREADS / 8) {
        const bool there = (int)(row + part) < left;
        copy_async(to.chunk(row, chunk) + part * to.ROW_BYTES, from + (size_t)part * stride, there ? 16 : 0);
    }
}

__device__ __forceinline__ void attend(const Attention<bf16>& a, Bias<bf16> bias, bool causal) {
    extern __shared__ __align__(128) unsigned char shared[];
    const uint32_t heads = gridDim.y, head = blockIdx.y, warp_row = threadIdx.x / WARP * WARP_ROWS;
    const Span queries = segment(a.rows, blockIdx.z), keys = segment(a.cols, blockIdx.z);
    const uint32_t block_row = blockIdx.x * ROWS, row = block_row + warp_row;
    if (block_row >= queries.count) return;

    // How many keys this block has to see, and of those this warp.
    const auto reach = [&](uint32_t end) { return causal ? min(keys.count, end) : keys.count; };
    const uint32_t seen = reach(block_row + ROWS), own = row < queries.count ? reach(row + WARP_ROWS) : 0;

    const uint32_t stride = heads * WIDTH;
    const bf16 *q = a.q + head * WIDTH, *k = a.k + head * WIDTH, *v = a.v + head * WIDTH;
    const uint32_t places = shared_address(shared);
    const auto k_tile = [&](uint32_t key) { return Tile<WIDTH>{places + key / STEP % PLACES * 2 * TILE_BYTES}; };
    const auto v_tile = [&](uint32_t key) { return Tile<WIDTH>{k_tile(key).address + TILE_BYTES}; };
    const auto copy_step = [&](uint32_t key) {
        if (key < seen) {
            copy_rows<STEP>(k_tile(key), k, keys.first + key, stride, keys.count - key);
            copy_rows<STEP>(v_tile(key), v, keys.first + key, stride, keys.count - key);
        }
        commit_copies();
    };

    // The queries pass through the places that are not needed yet.
    const Tile<WIDTH> q_tile = k_tile(AHEAD * STEP);
    static_assert(ROWS * WIDTH * 2 <= (PLACES - AHEAD) * 2 * TILE_BYTES, "room for the queries");
    copy_rows<ROWS>(q_tile, q, queries.first + block_row, stride, queries.count - block_row);
    commit_copies();
    for (uint32_t i = 0; i < AHEAD; i++) copy_step(i * STEP);
    const BiasRow near = {(float*)(shared + SHARED_BYTES), (int)bias.reach};
    near.begin<THREADS>(bias);
    wait_for_copies<AHEAD>();
    __syncthreads();
    near.finish<THREADS>(bias);
    Strip strip = {};
    each_row([&](uint32_t i, uint32_t j) { strip.peak[i][j] = MINUS_INFINITY; });
#pragma unroll
    for (uint32_t col = 0; col < WIDTH; col += 16) {
        for (uint32_t i = 0; i < 2; i++) strip.q[i][col / 16] = q_tile.left(warp_row + i * 16, col);
    }

    for (uint32_t key = 0; key < seen; key += STEP) {
        wait_for_copies<AHEAD - 1>();
        __syncthreads();
        copy_step(key + AHEAD * STEP);
        if (key >= own) continue;
        Scores s = product(strip, k_tile(key));
        add_bias(s, near.corner(key, row));
        if (key + STEP > keys.count) mask(s, [&](uint32_t, uint32_t) { return keys.count - key; });
        if (causal && key + STEP > row) {
            mask(s, [&](uint32_t i, uint32_t j) { return row + i * 16 + j * 8 + lane() / 4 + 1 - key; });
        }
        soften(strip, s);
        accumulate(strip, s, v_tile(key));
    }

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
        bf16* const to = a.o + (size_t)(queries.first + position) * stride + head * WIDTH + piece_col();
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

}  // namespace tiled
