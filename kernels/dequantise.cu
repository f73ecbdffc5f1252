// Rows from the memory store, one run behind the other, widened or rounded to the machine's type. A block has ROWS rows of
// one run.
#include "element.cuh"

constexpr uint32_t WARPS = 8;
constexpr uint32_t THREADS = WARP * WARPS;
constexpr uint32_t ROWS = 32;
constexpr uint32_t UNIT = 16;  // numbers that a lane takes at a time: 16 bytes of int8, 32 of bf16

// A run of stored rows; src/cuda/dequantise.rs has the same.
struct Run {
    const void* values;
    const float* scales;  // none of bf16
    uint32_t first_row, first_block, rows, unused;
};

template <class T> __device__ __forceinline__ void store_unit(T* to, const float (&x)[UNIT]) {
#pragma unroll
    for (int i = 0; i < UNIT / PACK<T>; i++) {
        Pack<PACK<T>> p;
#pragma unroll
        for (int n = 0; n < PACK<T>; n++) p[n] = x[i * PACK<T> + n];
        store<PACK<T>>(to, i, p);
    }
}

__device__ __forceinline__ void load_unit(const bf16* from, float (&x)[UNIT]) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const Pack<8> p = load<8>(from, i);
#pragma unroll
        for (int n = 0; n < 8; n++) x[i * 8 + n] = p[n];
    }
}
__device__ __forceinline__ void load_unit(const int8_t* from, float (&x)[UNIT]) {
    const uint4 bits = *reinterpret_cast<const uint4*>(from);
    const uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
#pragma unroll
    for (int i = 0; i < UNIT; i++) x[i] = float(int8_t(words[i / 4] >> (i % 4 * 8)));
}
__device__ __forceinline__ float widen(int8_t x) { return float(x); }

template <class T, class S>
__device__ __forceinline__ void widen_row(T* __restrict__ to, const S* __restrict__ from, float scale, uint32_t d) {
    const uint32_t lane = threadIdx.x % WARP;
    if (d % UNIT == 0) {
        for (uint32_t i = lane * UNIT; i < d; i += WARP * UNIT) {
            float x[UNIT];
            load_unit(from + i, x);
#pragma unroll
            for (int n = 0; n < UNIT; n++) x[n] *= scale;
            store_unit(to + i, x);
        }
    } else {
        for (uint32_t i = lane; i < d; i += WARP) to[i] = narrow<T>(widen(from[i]) * scale);
    }
}

template <class T>
__device__ void dequantise(const Run* __restrict__ runs, T* __restrict__ y, uint32_t d, uint32_t count) {
    __shared__ uint32_t partial[WARPS];
    uint32_t begun = 0;
    for (uint32_t i = threadIdx.x; i < count; i += THREADS) begun += runs[i].first_block <= blockIdx.x;
    const Run run = runs[block_sum(begun, partial) - 1];
    const uint32_t first = (blockIdx.x - run.first_block) * ROWS, end = min(run.rows, first + ROWS);
    for (uint32_t row = first + threadIdx.x / WARP; row < end; row += WARPS) {
        T* to = y + (size_t)(run.first_row + row) * d;
        if (run.scales) {
            widen_row(to, static_cast<const int8_t*>(run.values) + (size_t)row * d, run.scales[row], d);
        } else {
            widen_row(to, static_cast<const bf16*>(run.values) + (size_t)row * d, 1.0f, d);
        }
    }
}

#define PARAMETERS(T) (const Run* runs, T* y, uint32_t d, uint32_t count)
KERNEL_OF_ELEMENTS(dequantise, THREADS, PARAMETERS, (runs, y, d, count))
