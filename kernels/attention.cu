// o_ij = Σ_t softmax_t(⟨q_ij, k_tj⟩ + bias) · v_tj, for head j of row i, over the keys t of its segment; and the
// logarithm of the sum that the softmax divides by.
#include "attention_plain.cuh"
#include "attention_tiled.cuh"

// Block (x, y, z) has the x-th tile of rows of head y of segment z.
#define PARAMETERS(T)                                                                                                  \
    (const T* q, const T* k, const T* v, T* o, float* log_sum, const uint32_t* rows, const uint32_t* cols,             \
     const T* table, const uint16_t* bucket, uint32_t buckets, uint32_t reach, uint32_t causal, uint32_t width,        \
     uint64_t stream, uint32_t threshold, float scale)
#define OPERANDS                                                                                                       \
    {q, k, v, o, log_sum, rows, cols}, {table, bucket, buckets, reach, gridDim.y, blockIdx.y}, causal != 0,            \
        { stream, threshold, scale }

// For heads of up to WIDTH.
#define PLAIN(T, NAME, WIDTH)                                                                                          \
    extern "C" __global__ void __launch_bounds__(plain::THREADS, WIDTH == 256 ? 3 : 4)                                 \
        attention_plain##WIDTH##_##NAME PARAMETERS(T) {                                                                \
        plain::attend<T, WIDTH>(OPERANDS, width);                                                                      \
    }

PLAIN(float, f32, 32)
PLAIN(bf16, bf16, 32)
PLAIN(float, f32, 64)
PLAIN(bf16, bf16, 64)
PLAIN(float, f32, 128)
PLAIN(bf16, bf16, 128)
PLAIN(float, f32, 256)
PLAIN(bf16, bf16, 256)

// For heads of 64, and ROWS rows a block. Twelve warps a multiprocessor: while some multiply, others take powers.
#define TILED(ROWS, WEIGHTS, NAME)                                                                                     \
    extern "C" __global__ void __launch_bounds__(ROWS, 12 / (ROWS / 32)) attention_##NAME##ROWS##_bf16                 \
        PARAMETERS(bf16) {                                                                                             \
        tiled::attend<tiled::Block<ROWS / 32>, tiled::Weights::WEIGHTS>(OPERANDS);                                     \
    }

TILED(32, WHOLE, tile)
TILED(64, WHOLE, tile)
TILED(128, WHOLE, tile)
TILED(32, MASKED, masked_tile)
TILED(128, MASKED, masked_tile)
