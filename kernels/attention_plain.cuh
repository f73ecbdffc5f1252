// Attention in plain f32 arithmetic: for f32, and for heads that tensor cores have no kernel of.
//
// A block is 32 rows of one head of one segment, a warp eight of them. Keys go by in steps of 32. For the logits a lane
// is a key; for the values it is some columns of the head, and the weights go from one to the other through shared
// memory. Heads narrower than WIDTH are filled up with zeros.
#pragma once

#include "attention.cuh"
#include "mask.cuh"

namespace plain {

constexpr uint32_t WARPS = 4;
constexpr uint32_t THREADS = WARPS * WARP;
constexpr uint32_t WARP_ROWS = 8;
constexpr uint32_t ROWS = WARPS * WARP_ROWS;
constexpr uint32_t STEP = WARP;

// COUNT rows of WIDTH f32 in shared memory, STRIDE apart.
template <uint32_t WIDTH, uint32_t STRIDE, uint32_t COUNT = 32> struct Rows {
    static constexpr uint32_t LENGTH = COUNT * STRIDE;

    float* at;

    // Four neighbours, in one piece. (The compiler, left to itself, reads two halves here and there, by where its own
    // memory happens to lie; and lanes that are at different rows then meet every bank twice.)
    __device__ __forceinline__ float4 quad(uint32_t row, uint32_t col) const {
        float4 x;
        const uint32_t address = __cvta_generic_to_shared(at + row * STRIDE + col);
        asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                     : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
                     : "r"(address)
                     : "memory");
        return x;
    }

    // Widens rows of `width` numbers, `stride` apart, of which there are `count`. The rest becomes zeros.
    template <class T>
    __device__ __forceinline__ void fill(const T* from, size_t stride, uint32_t count, uint32_t width) const {
        if (is_packed<T>(width)) {
            fill_by<PACK<T>>(from, stride, count, width);
        } else {
            fill_by<1>(from, stride, count, width);
        }
    }

    template <int N, class T>
    __device__ __forceinline__ void fill_by(const T* from, size_t stride, uint32_t count, uint32_t width) const {
        constexpr uint32_t PACKS = WIDTH / N;
#pragma unroll 2
        for (uint32_t i = threadIdx.x; i < COUNT * PACKS; i += THREADS) {
            const uint32_t row = i / PACKS, pack = i % PACKS;
            Pack<N> x = {};
            if (row < count && pack * N < width) x = load<N>(from + row * stride, pack);
            float* const to = at + row * STRIDE + pack * N;
            if constexpr (N == 1) {
                *to = x[0];
            } else {
#pragma unroll
                for (int j = 0; j < N; j += 4) {
                    *reinterpret_cast<float4*>(to + j) = make_float4(x[j], x[j + 1], x[j + 2], x[j + 3]);
                }
            }
        }
    }
};

__device__ __forceinline__ float dot(float4 a, float4 b, float sum) {
    return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}

// Of what is as wide as a head, a lane has every 32nd column.
template <uint32_t WIDTH> constexpr uint32_t COLUMNS = WIDTH / WARP;
__device__ __forceinline__ uint32_t column(uint32_t i) { return i * WARP + threadIdx.x % WARP; }

// A lane reads a row of its own four columns at a time: of eight lanes, the fifth quad in a row keeps the banks apart.
template <uint32_t WIDTH> using Tile = Rows<WIDTH, WIDTH + 4>;

// x = own·passing: of each of the warp's own rows, from `first` on, and the row that passes by this lane.
template <uint32_t ROWS, class Own, class Passing>
__device__ __forceinline__ void product(float (&x)[ROWS], Own own, uint32_t first, Passing passing, uint32_t width) {
    for (float& sum : x) sum = 0;
#pragma unroll 2
    for (uint32_t col = 0; col < width; col += 4) {
        const float4 other = passing.quad(threadIdx.x % WARP, col);
#pragma unroll
        for (uint32_t row = 0; row < ROWS; row++) x[row] = dot(own.quad(first + row, col), other, x[row]);
    }
}

template <uint32_t WIDTH, uint32_t ROWS, class F>
__device__ __forceinline__ void add_row(float (&sum)[ROWS][COLUMNS<WIDTH>], Tile<WIDTH> passing, uint32_t row,
                                        F weight) {
    float values[COLUMNS<WIDTH>];
#pragma unroll
    for (uint32_t i = 0; i < COLUMNS<WIDTH>; i++) values[i] = passing.at[row * (WIDTH + 4) + column(i)];
#pragma unroll
    for (uint32_t own = 0; own < ROWS; own++) {
#pragma unroll
        for (uint32_t i = 0; i < COLUMNS<WIDTH>; i++) sum[own][i] = fmaf(weight(own), values[i], sum[own][i]);
    }
}

// sum += weights·passing, of all the rows that pass by.
template <uint32_t WIDTH, uint32_t ROWS, class Weights>
__device__ __forceinline__ void accumulate(float (&sum)[ROWS][COLUMNS<WIDTH>], Weights weights, uint32_t first,
                                           Tile<WIDTH> passing) {
#pragma unroll 1
    for (uint32_t row = 0; row < STEP; row += 4) {
        float4 w[ROWS];
#pragma unroll
        for (uint32_t own = 0; own < ROWS; own++) w[own] = weights.quad(first + own, row);
        add_row<WIDTH>(sum, passing, row, [&](uint32_t own) { return w[own].x; });
        add_row<WIDTH>(sum, passing, row + 1, [&](uint32_t own) { return w[own].y; });
        add_row<WIDTH>(sum, passing, row + 2, [&](uint32_t own) { return w[own].z; });
        add_row<WIDTH>(sum, passing, row + 3, [&](uint32_t own) { return w[own].w; });
    }
}

// What the weight of a key in its segment and a row of the whole batch is multiplied by, for this block's head.
__device__ __forceinline__ float mask_factor(const Mask& mask, uint32_t row, uint32_t key) {
    return mask.factor(mask.word(row * gridDim.y + blockIdx.y, key / 4) >> key % 4 * 16);
}

// A warp's eight rows.
template <uint32_t WIDTH> struct Strip {
    float x[WARP_ROWS];                  // this lane's key's logits, and then its weights
    float peak[WARP_ROWS];               // of the logits so far
    float mass[WARP_ROWS];               // Σ weight, of this lane's keys
    float o[WARP_ROWS][COLUMNS<WIDTH>];  // Σ weight · v

    // Turns logits into weights.
    __device__ __forceinline__ void soften() {
#pragma unroll
        for (uint32_t row = 0; row < WARP_ROWS; row++) {
            if (__any_sync(ALL_LANES, x[row] > peak[row])) {
                const float highest = warp_max(fmaxf(peak[row], x[row]));
                const float shrink = power_of_two(peak[row] - highest);
                peak[row] = highest;
                mass[row] *= shrink;
#pragma unroll
                for (uint32_t i = 0; i < COLUMNS<WIDTH>; i++) o[row][i] *= shrink;
            }
            x[row] = power_of_two(x[row] - peak[row]);
            mass[row] += x[row];
        }
    }

    // Writes the rows from `row` on of the segment's queries.
    template <class T>
    __device__ __forceinline__ void write(const Attention<T>& a, Span queries, uint32_t row, uint32_t width) const {
        const uint32_t head = blockIdx.y, heads = gridDim.y;
#pragma unroll
        for (uint32_t i = 0; i < WARP_ROWS; i++) {
            if (row + i >= queries.count) break;
            const size_t place = (size_t)(queries.first + row + i) * heads + head;
            const float sum = warp_sum(mass[i]), scale = reciprocal(sum);
#pragma unroll
            for (uint32_t j = 0; j < COLUMNS<WIDTH>; j++) {
                if (column(j) < width) a.o[place * width + column(j)] = narrow<T>(o[i][j] * scale);
            }
            if (a.log_sum != nullptr && threadIdx.x % WARP == 0) a.log_sum[place] = log_sum(peak[i], sum);
        }
    }
};

template <class T, uint32_t WIDTH>
__device__ __forceinline__ void attend(const Attention<T>& a, const Bias<T>& bias, bool causal, const Mask& mask,
                                       uint32_t width) {
    extern __shared__ __align__(16) float floats[];
    const uint32_t lane = threadIdx.x % WARP, warp_row = threadIdx.x / WARP * WARP_ROWS;
    const Span queries = segment(a.rows, blockIdx.z), keys = segment(a.cols, blockIdx.z);
    const uint32_t block_row = blockIdx.x * ROWS, row = block_row + warp_row;
    if (block_row >= queries.count) return;

    const size_t stride = (size_t)gridDim.y * width, head = blockIdx.y * width;
    const T *k = a.k + keys.first * stride + head, *v = a.v + keys.first * stride + head;
    // Keys and values take turns in one place.
    const Rows<WIDTH, WIDTH> q = {floats};
    const Tile<WIDTH> tile = {q.at + q.LENGTH};
    const Rows<STEP, STEP> weights = {tile.at + tile.LENGTH};
    const BiasRow<> near = {weights.at + weights.LENGTH, (int)bias.reach};
    q.fill(a.q + (queries.first + block_row) * stride + head, stride, queries.count - block_row, width);
    near.begin(bias, THREADS);
    __syncthreads();
    near.finish(bias, THREADS);

    Strip<WIDTH> strip = {};
    for (float& peak : strip.peak) peak = MINUS_INFINITY;
    // How many keys this block has to see, and of those this warp.
    const auto seen_before = [&](uint32_t end) { return causal ? min(keys.count, end) : keys.count; };
    const uint32_t seen = seen_before(block_row + ROWS), own = row < queries.count ? seen_before(row + WARP_ROWS) : 0;
    for (uint32_t first = 0; first < seen; first += STEP) {
        __syncthreads();
        tile.fill(k + first * stride, stride, keys.count - first, width);
        __syncthreads();
        if (first < own) {
            product(strip.x, q, warp_row, tile, width);
            const float* const diagonal = near.corner(first, row) + lane;
            const uint32_t key = first + lane;
#pragma unroll
            for (int i = 0; i < WARP_ROWS; i++) {
                const bool hidden = key >= keys.count || (causal && key > row + i);
                strip.x[i] = hidden ? MINUS_INFINITY : fmaf(strip.x[i], LOG2_E, diagonal[-i]);
            }
            strip.soften();
#pragma unroll
            for (uint32_t i = 0; i < WARP_ROWS; i++) {
                const float kept = mask.threshold == 0 ? 1.0f : mask_factor(mask, queries.first + row + i, key);
                weights.at[(warp_row + i) * STEP + lane] = strip.x[i] * kept;
            }
        }
        __syncthreads();
        tile.fill(v + first * stride, stride, keys.count - first, width);
        __syncthreads();
        if (first < own) accumulate<WIDTH>(strip.o, weights, warp_row, tile);
    }
    strip.write(a, queries, row, width);
}

}  // namespace plain
