// Attention in plain f32 arithmetic: for f32, and for heads that tensor cores have no kernel of.
//
// A block is 32 rows of one head of one segment, a warp eight of them. Keys go by in steps of 32. For the logits a lane
// is a key; for the values it is some columns of the head, and the weights go from one to the other through shared
// memory. Heads narrower than WIDTH are filled up with zeros.

#pragma once

#include "attention.cuh"

namespace plain {

constexpr uint32_t WARPS = 4;
constexpr uint32_t THREADS = WARPS * WARP;
constexpr uint32_t WARP_ROWS = 8;
constexpr uint32_t ROWS = WARPS * WARP_ROWS;
constexpr uint32_t STEP = WARP;

__device__ inline float dot(float4 a, float4 b, float sum) {
    return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, sum))));
}

// Up to 32 rows of `WIDTH` f32 in shared memory, `STRIDE` apart.
template <uint32_t WIDTH, uint32_t STRIDE>
struct Rows {
    float* at;

    __device__ float4 quad(uint32_t row, uint32_t col) const { return *(const float4*)(at + row * STRIDE + col); }

    // Widens rows of `width` numbers, `stride` apart, of which there are `count`. The rest becomes zeros.
    template <int N, class T>
    __device__ void fill(const T* from, size_t stride, uint32_t count, uint32_t width) const {
        constexpr uint32_t PACKS = WIDTH / N;
#pragma unroll 2
        for (uint32_t i = threadIdx.x; i < 32 * PACKS; i += THREADS) {
            const uint32_t row = i / PACKS, pack = i % PACKS;
            Pack<N> x = {};
            if (row < count && pack * N < width) x = load<N>(from + row * stride, pack);
            float* const to = at + row * STRIDE + pack * N;
            if constexpr (N == 1) {
                *to = x[0];
            } else {
#pragma unroll
                for (int j = 0; j < N; j += 4) *(float4*)(to + j) = make_float4(x[j], x[j + 1], x[j + 2], x[j + 3]);
            }
        }
    }

    template <class T>
    __device__ void fill(const T* from, size_t stride, uint32_t count, uint32_t width) const {
        if (is_packed<T>(width)) {
            fill<PACK<T>>(from, stride, count, width);
        } else {
            fill<1>(from, stride, count, width);
        }
    }
};

// A warp's eight rows. Of the values, a lane has COLUMNS in groups of `GROUP` neighbours.
template <uint32_t WIDTH>
struct Strip {
    static constexpr uint32_t COLUMNS = WIDTH / WARP;
    static constexpr uint32_t GROUP = COLUMNS < 4 ? COLUMNS : 4;

    float peak[WARP_ROWS];            // of the logits so far
    float mass[WARP_ROWS];            // Σ weight, of this lane's keys
    float o[WARP_ROWS][COLUMNS];      // Σ weight · v

    __device__ static uint32_t column(uint32_t i) { return i / GROUP * WARP * GROUP + threadIdx.x % WARP * GROUP + i % GROUP; }

    // Turns this lane's logit of each row into its weight.
    __device__ void soften(float (&x)[WARP_ROWS]) {
#pragma unroll
        for (uint32_t row = 0; row < WARP_ROWS; row++) {
            if (__any_sync(ALL_LANES, x[row] > peak[row])) {
                const float highest = warp_max(fmaxf(peak[row], x[row]));
                const float shrink = power_of_two(peak[row] - highest);
                peak[row] = highest;
                mass[row] *= shrink;
#pragma unroll
                for (uint32_t i = 0; i < COLUMNS; i++) o[row][i] *= shrink;
            }
            x[row] = power_of_two(x[row] - peak[row]);
            mass[row] += x[row];
        }
    }

    // o += w·v for four keys, whose weights are `w`.
    __device__ void accumulate(const float4 (&w)[WARP_ROWS], const float* v, uint32_t stride) {
#pragma unroll
        for (uint32_t key = 0; key < 4; key++) {
            float values[COLUMNS];
#pragma unroll
            for (uint32_t i = 0; i < COLUMNS; i++) values[i] = v[key * stride + column(i)];
#pragma unroll
            for (uint32_t row = 0; row < WARP_ROWS; row++) {
                const float weight = key == 0 ? w[row].x : key == 1 ? w[row].y : key == 2 ? w[row].z : w[row].w;
#pragma unroll
                for (uint32_t i = 0; i < COLUMNS; i++) o[row][i] = fmaf(weight, values[i], o[row][i]);
            }
        }
    }
};

template <class T, uint32_t WIDTH>
__device__ __forceinline__ void attend(const Attention<T>& a, Bias<T> bias, bool causal, uint32_t width) {
    extern __shared__ __align__(16) float shared_floats[];
    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, head = blockIdx.y, heads = gridDim.y;
    const Span queries = segment(a.rows, blockIdx.z), keys = segment(a.cols, blockIdx.z);
    const uint32_t block_row = blockIdx.x * ROWS, row = block_row + warp * WARP_ROWS;
    if (block_row >= queries.count) return;

    const auto reach = [&](uint32_t end) { return causal ? min(keys.count, end) : keys.count; };
    const uint32_t seen = reach(block_row + ROWS), own = row < queries.count ? reach(row + WARP_ROWS) : 0;

    const size_t stride = (size_t)heads * width;
    const size_t key_place = keys.first * stride + head * width;
    const size_t query_place = (queries.first + block_row) * stride + head * width;

    const Rows<WIDTH, WIDTH> query = {shared_floats};
    const Rows<WIDTH, WIDTH + 4> tile = {query.at + ROWS * WIDTH};
    float* const weights = tile.at + STEP * (WIDTH + 4) + warp * WARP_ROWS * STEP;
    const BiasRow near = {tile.at + STEP * (WIDTH + 4) + ROWS * STEP, (int)bias.reach};

    query.fill(a.q + query_place, stride, queries.count - block_row, width);
    near.begin<THREADS>(bias);
    __syncthreads();
    near.finish<THREADS>(bias);

    Strip<WIDTH> strip = {};
    for (float& peak : strip.peak) peak = MINUS_INFINITY;
    for (uint32_t first = 0; first < seen; first += STEP) {
        const size_t place = key_place + first * stride;
        __syncthreads();
        tile.fill(a.k + place, stride, keys.count - first, width);
        __syncthreads();
        if (first < own) {
            float x[WARP_ROWS] = {};
#pragma unroll 2
            for (uint32_t col = 0; col < width; col += 4) {
                const float4 key = tile.quad(lane, col);
#pragma unroll
                for (uint32_t i = 0; i < WARP_ROWS; i++) x[i] = dot(query.quad(warp * WARP_ROWS + i, col), key, x[i]);
            }
            const float* const diagonal = near.corner(first, row) + lane;
            const uint32_t key = first + lane;
#pragma unroll
            for (int i = 0; i < WARP_ROWS; i++) {
                x[i] = fmaf(x[i], LOG2_E, diagonal[-i]);
                if (key >= keys.count || (causal && key > row + i)) x[i] = MINUS_INFINITY;
            }
            strip.soften(x);
#pragma unroll
            for (uint32_t i = 0; i < WARP_ROWS; i++) weights[i * STEP + lane] = x[i];
        }
        __syncthreads();
        tile.fill(a.v + place, stride, keys.count - first, width);
        __syncthreads();
        if (first < own) {
#pragma unroll 1
            for (uint32_t key = 0; key < STEP; key += 4) {
                float4 w[WARP_ROWS];
#pragma unroll
                for (uint32_t i = 0; i < WARP_ROWS; i++) w[i] = *(const float4*)(weights + i * STEP + key);
                strip.accumulate(w, tile.at + key * (WIDTH + 4), WIDTH + 4);
            }
        }
    }

#pragma unroll
    for (uint32_t i = 0; i < WARP_ROWS; i++) {
        if (row + i >= queries.count) break;
        const float mass = warp_sum(strip.mass[i]), scale = reciprocal(mass);
        T* const to = a.o + query_place + (warp * WARP_ROWS + i) * stride;
#pragma unroll
        for (uint32_t j = 0; j < strip.COLUMNS; j++) {
            if (strip.column(j) < width) to[strip.column(j)] = narrow<T>(strip.o[i][j] * scale);
        }
        if (a.log_sum != nullptr && lane == 0) {
            a.log_sum[(size_t)(queries.first + row + i) * heads + head] = log_sum(strip.peak[i], mass);
        }
    }
}

}  // namespace plain
