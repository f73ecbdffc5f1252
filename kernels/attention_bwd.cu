// The backward pass of attention. With the weights p of o_i = Σ_t z_it·p_it·v_t drawn again from the rows' saved sums,
// z what a mask multiplies them by, and δ_i = ⟨do_i, o_i⟩, for each head: dv_t = Σ_i z_it·p_it·do_i,
// ds_it = p_it·(z_it·⟨do_i, v_t⟩ − δ_i), dq_i = Σ_t ds_it·k_t, dk_t = Σ_i ds_it·q_i, dtable[bucket(t − i)] += ds_it.
#include "attention_bwd_plain.cuh"
#include "attention_bwd_whole.cuh"

// Block (x, y, z) has the x-th tile of rows, of queries or of keys, of head y of segment z.
#define PARAMETERS(T, ...)                                                                                             \
    (const T* q, const T* k, const T* v, const T* o, const T* d_o, const float* log_sum, float2* of_query, T* dq,      \
     T* dk, T* dv, float* dbias, const uint32_t* rows, const uint32_t* cols, uint32_t n, const T* table,               \
     const uint16_t* bucket, uint32_t buckets, uint32_t reach, uint32_t causal, uint32_t width, uint64_t stream,       \
     uint32_t threshold, float scale, ##__VA_ARGS__)
#define OPERANDS                                                                                                       \
    {q, k, v, o, d_o, log_sum, of_query, dq, dk, dv, dbias, rows, cols, n},                                            \
        {table, bucket, buckets, reach, gridDim.y, blockIdx.y}, causal != 0, { stream, threshold, scale }

// For heads of up to WIDTH.
#define PLAIN(T, NAME, WIDTH)                                                                                          \
    extern "C" __global__ void __launch_bounds__(plain::THREADS, 3)                                                    \
        attention_bwd_queries_plain##WIDTH##_##NAME PARAMETERS(T) {                                                    \
        plain::attend_bwd<Side::QUERIES, T, WIDTH>(OPERANDS, width);                                                   \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(plain::THREADS, 3)                                                    \
        attention_bwd_keys_plain##WIDTH##_##NAME PARAMETERS(T) {                                                       \
        plain::attend_bwd<Side::KEYS, T, WIDTH>(OPERANDS, width);                                                      \
    }

PLAIN(float, f32, 32)
PLAIN(bf16, bf16, 32)
PLAIN(float, f32, 64)
PLAIN(bf16, bf16, 64)
PLAIN(float, f32, 128)
PLAIN(bf16, bf16, 128)
PLAIN(float, f32, 256)
PLAIN(bf16, bf16, 256)

// For heads of 64; a block has as many warps as the launch gives it, up to BWD_WARPS.
#define TILED(WEIGHTS, NAME)                                                                                           \
    extern "C" __global__ void __launch_bounds__(tiled::BWD_WARPS * WARP, 1)                                           \
        attention_bwd_queries_##NAME##_bf16 PARAMETERS(bf16) {                                                         \
        tiled::attend_bwd<Side::QUERIES, tiled::Weights::WEIGHTS>(OPERANDS);                                           \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(tiled::BWD_WARPS * WARP, 1)                                           \
        attention_bwd_keys_##NAME##_bf16 PARAMETERS(bf16) {                                                            \
        tiled::attend_bwd<Side::KEYS, tiled::Weights::WEIGHTS>(OPERANDS);                                              \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(tiled::BWD_WARPS * WARP, 1)                                           \
        attention_bwd_whole_##NAME##_bf16 PARAMETERS(bf16, uint32_t most_rows, uint32_t most_cols) {                   \
        tiled::attend_bwd_whole<tiled::Weights::WEIGHTS>(OPERANDS, most_rows, most_cols);                              \
    }

TILED(WHOLE, tile)
TILED(MASKED, masked_tile)

constexpr uint32_t TABLE_THREADS = 256;

// dtable[b, head] += Σ of the parts [parts, buckets] of each head, of which block `head` has its own. Warps take turns
// with the parts, and then their sums are added in order.
extern "C" __global__ void __launch_bounds__(TABLE_THREADS)
    attention_bwd_table(const float* dbias, float* dtable, uint32_t parts, uint32_t buckets) {
    __shared__ float sums[TABLE_THREADS / WARP][WARP];
    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const float* const own = dbias + (size_t)blockIdx.x * parts * buckets;
    for (uint32_t first = 0; first < buckets; first += WARP) {
        const uint32_t b = first + lane;
        float sum = 0;
        if (b < buckets) {
#pragma unroll 4
            for (uint32_t part = warp; part < parts; part += TABLE_THREADS / WARP) {
                sum += own[(size_t)part * buckets + b];
            }
        }
        sums[warp][lane] = sum;
        __syncthreads();
        if (warp == 0 && b < buckets) {
            for (uint32_t other = 1; other < TABLE_THREADS / WARP; other++) sum += sums[other][lane];
            dtable[(size_t)b * gridDim.x + blockIdx.x] += sum;
        }
        __syncthreads();
    }
}
