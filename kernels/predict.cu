// The most likely token of each row of x·headᵀ and the logarithm of its probability. x [rows, inner], head [v, inner].
//
// The logits stay in registers: of each row and every 64 tokens one `Part` is written, and `predict` makes the answer of
// a row's parts.

#include "few.cuh"
#include "operand.cuh"
#include "plain.cuh"
#include "tiled.cuh"

constexpr uint32_t PART_TOKENS = 64;
constexpr uint32_t NO_TOKEN = 0xffffffffu;

// The largest of some logits, the lowest among equals; never one that is not a number.
struct Best {
    float logit = -INFINITY;
    uint32_t token = NO_TOKEN;

    __device__ __forceinline__ void take(float other, uint32_t its_token) {
        if (other > logit || (other == logit && its_token < token)) logit = other, token = its_token;
    }
};

// What is to be known of some tokens of a row: the largest logit, Σ exp(logit − largest), and whose the largest is.
struct __align__(16) Part {
    float peak, mass;
    uint32_t token;
    uint32_t unused = 0;  // so that it is one access
};

// The best of what LANES neighbours have, and the sum.
template <uint32_t LANES> __device__ __forceinline__ Best best_of(Best best) {
#pragma unroll
    for (uint32_t apart = LANES / 2; apart > 0; apart /= 2) {
        const float logit = __shfl_xor_sync(ALL_LANES, best.logit, apart);
        best.take(logit, __shfl_xor_sync(ALL_LANES, best.token, apart));
    }
    return best;
}
template <uint32_t LANES> __device__ __forceinline__ float sum_of(float x) {
#pragma unroll
    for (uint32_t apart = LANES / 2; apart > 0; apart /= 2) x += __shfl_xor_sync(ALL_LANES, x, apart);
    return x;
}

// The part that LANES neighbours hold: `each(f)` calls `f(token, logit)` for what a lane has of it.
template <uint32_t LANES, class Each> __device__ __forceinline__ Part part_of(Each each) {
    Best best;
    each([&](uint32_t token, float logit) { best.take(logit, token); });
    best = best_of<LANES>(best);
    // Of nothing but −∞ there is no mass, where it would be that of a number minus itself.
    const float peak = best.logit == -INFINITY ? 0.0f : best.logit;
    float mass = 0.0f;
    each([&](uint32_t, float logit) { mass += expf(logit - peak); });
    return {best.logit, sum_of<LANES>(mass), best.token};
}

template <class T> struct Logits {
    const T *x, *head;
    // [rows, parts]
    Part* parts;
    uint32_t rows, inner, v;

    __device__ void write(uint32_t row, uint32_t token, const Part& part) const {
        parts[(size_t)row * ((v + PART_TOKENS - 1) / PART_TOKENS) + token / PART_TOKENS] = part;
    }
};

// Many rows. inner is a multiple of 8.
template <class Tiles> __device__ __forceinline__ void parts_tiled(const Logits<bf16>& a) {
    static_assert(Tiles::WARP_COLS == PART_TOKENS);
    const Place tile = Place::of_block<Tiles>(a.rows, a.v);
    if (tile.row >= a.rows) return;
    const Rows<bf16> x{a.x, tile.row, a.rows, a.inner}, head{a.head, tile.col, a.v, a.inner};
    Sums<Tiles> sums = {};
    tile_product(sums, x, head, a.inner);

    const uint32_t first = tile.col + Tiles::warp_col();
#pragma unroll
    for (uint32_t i = 0; i < Tiles::WARP_ROWS / 16; i++) {
#pragma unroll
        for (uint32_t lower = 0; lower < 4; lower += 2) {
            const Part part = part_of<4>([&](auto f) {
#pragma unroll
                for (uint32_t n = 0; n < PART_TOKENS / 4; n++) {
                    const uint32_t j = n / 4, half = n / 2 % 2, of_row = lower + n % 2;
                    const uint32_t token = first + j * 16 + half * 8 + sum_col(of_row);
                    if (token < a.v) f(token, sums.at[i][j].half[half][of_row]);
                }
            });
            const uint32_t row = tile.row + Tiles::warp_row() + i * 16 + sum_row(lower);
            if (lane() % 4 == 0 && row < a.rows && first < a.v) a.write(row, first, part);
        }
    }
}

// At most 16 rows. inner is a multiple of 8.
__device__ __forceinline__ void parts_few(const Logits<bf16>& a, const Split& split) {
    static_assert(FEW_COLS == PART_TOKENS);
    __shared__ __align__(16) Products products;
    const uint32_t first = blockIdx.x * FEW_COLS;
    const Rows<bf16> head{a.head, first, a.v, a.inner};
    if (a.rows == 0 || !few_product(products, a.x, head, a.rows, a.inner, {}, split)) return;
    __syncthreads();
    for (uint32_t row = threadIdx.x / 32; row < a.rows; row += FEW_WARPS) {
        const Part part = part_of<32>([&](auto f) {
#pragma unroll
            for (uint32_t col = 0; col < FEW_COLS; col += 32) {
                const uint32_t token = first + col + lane();
                if (token < a.v) f(token, products.of_warp[0][row][col + lane()]);
            }
        });
        if (lane() == 0) a.write(row, first, part);
    }
}

// Any width.
template <class T, uint32_t ROWS> __device__ __forceinline__ void parts_plain(const Logits<T>& a) {
    static_assert(PLAIN_COLS == PART_TOKENS);
    const uint32_t first_row = blockIdx.y * ROWS, first = blockIdx.x * PLAIN_COLS;
    if (first_row >= a.rows) return;
    const Rows<T> x{a.x, first_row, a.rows, a.inner}, head{a.head, first, a.v, a.inner};
    PlainSums<ROWS> sums = {};
    plain_product<T>(sums, x, head, a.inner);
#pragma unroll
    for (uint32_t i = 0; i < PLAIN_HEIGHT<ROWS>; i++) {
        const Part part = part_of<PLAIN_COLS / PLAIN_WIDTH>([&](auto f) {
#pragma unroll
            for (uint32_t j = 0; j < PLAIN_WIDTH; j++) {
                const uint32_t token = first + sums.first_col() + j;
                if (token < a.v) f(token, sums.at[i][j]);
            }
        });
        const uint32_t row = first_row + sums.first_row() + i;
        if (sums.first_col() == 0 && row < a.rows) a.write(row, first, part);
    }
}

#define PARAMETERS(T)                                                                                                  \
    const T *__restrict__ x, const T *__restrict__ head, Part *__restrict__ parts, uint32_t rows, uint32_t inner,      \
        uint32_t v, const uint32_t *__restrict__ live_rows
#define ARGUMENTS {x, head, parts, true_rows(rows, live_rows), inner, v}

#define PLAIN(name, T, ROWS)                                                                                           \
    extern "C" __global__ void __launch_bounds__(PLAIN_THREADS, PLAIN_RESIDENT) name##_##T(PARAMETERS(T)) {            \
        parts_plain<T, ROWS>(ARGUMENTS);                                                                               \
    }

extern "C" __global__ void __launch_bounds__(Medium::THREADS, Medium::RESIDENT)
    predict_parts_tile128x128_bf16(PARAMETERS(bf16)) {
    parts_tiled<Medium>(ARGUMENTS);
}

extern "C" __global__ void __launch_bounds__(FEW_THREADS, FEW_RESIDENT) predict_parts_rows16_bf16(
    PARAMETERS(bf16), uint32_t span, float* __restrict__ partial, uint32_t* __restrict__ tickets
) {
    parts_few(ARGUMENTS, {span, partial, tickets});
}

PLAIN(predict_parts_plain64, f32, 64)
PLAIN(predict_parts_plain64, bf16, 64)
PLAIN(predict_parts_plain8, f32, 8)
PLAIN(predict_parts_plain8, bf16, 8)

__device__ __forceinline__ Part load_part(const Part* from) {
    const uint4 words = __ldg(reinterpret_cast<const uint4*>(from));
    return {__uint_as_float(words.x), __uint_as_float(words.y), words.z};
}

// What is to be known of the tokens of both.
__device__ __forceinline__ Part joined(const Part& a, const Part& b) {
    Best best{a.peak, a.token};
    best.take(b.peak, b.token);
    // Equal ones may both be −∞.
    const auto share = [&](const Part& part) {
        return part.mass * (part.peak == best.logit ? 1.0f : expf(part.peak - best.logit));
    };
    return {best.logit, share(a) + share(b), best.token};
}

// token, log_prob [rows], each row by a warp.
constexpr uint32_t PREDICT_THREADS = 128;
extern "C" __global__ void __launch_bounds__(PREDICT_THREADS) predict(
    const Part* __restrict__ parts,
    uint32_t* __restrict__ token,
    float* __restrict__ log_prob,
    uint32_t rows,
    uint32_t v,
    const uint32_t* __restrict__ live_rows
) {
    const uint32_t row = blockIdx.x * (PREDICT_THREADS / WARP) + threadIdx.x / WARP;
    if (row >= true_rows(rows, live_rows)) return;
    const uint32_t count = (v + PART_TOKENS - 1) / PART_TOKENS;
    Part all{-INFINITY, 0.0f, NO_TOKEN};
#pragma unroll 4
    for (uint32_t i = lane(); i < count; i += WARP) all = joined(all, load_part(parts + (size_t)row * count + i));
#pragma unroll
    for (uint32_t apart = WARP / 2; apart > 0; apart /= 2) {
        const float peak = __shfl_xor_sync(ALL_LANES, all.peak, apart), mass = __shfl_xor_sync(ALL_LANES, all.mass, apart);
        all = joined(all, {peak, mass, __shfl_xor_sync(ALL_LANES, all.token, apart)});
    }
    if (lane() > 0) return;
    token[row] = all.token == NO_TOKEN ? 0 : all.token;
    // log exp(largest − largest) − log mass: where the largest is infinite, there is no probability.
    log_prob[row] = all.peak - all.peak - logf(all.mass);
}
