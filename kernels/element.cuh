// Numbers and rows of numbers: f32 or bf16 in memory, f32 in registers. Values are widened when they are loaded and
// rounded once, to the nearest, when they are stored.
//
// A row of `d` numbers is a row of packs: 16 bytes each where d allows it, and single numbers where it does not.
// Kernels are written over packs of N numbers and instantiated for both.
#pragma once

#include <cstdint>
#include <cuda_bf16.h>

using bf16 = __nv_bfloat16;

constexpr uint32_t WARP = 32;
constexpr uint32_t ALL_LANES = 0xffffffffu;

// Numbers in 16 bytes.
template <class T> constexpr int PACK = 16 / sizeof(T);

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(bf16 x) { return __bfloat162float(x); }

template <class T> __device__ __forceinline__ T narrow(float x);
template <> __device__ __forceinline__ float narrow<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 narrow<bf16>(float x) { return __float2bfloat16_rn(x); }

// N neighbours, widened.
template <int N> struct Pack {
    float x[N];
    __device__ __forceinline__ float& operator[](int i) { return x[i]; }
    __device__ __forceinline__ float operator[](int i) const { return x[i]; }
};

// The 16 bytes of four numbers.
__device__ __forceinline__ Pack<4> unpack(uint4 bits, float) {
    return {{__uint_as_float(bits.x), __uint_as_float(bits.y), __uint_as_float(bits.z), __uint_as_float(bits.w)}};
}

// The 16 bytes of eight numbers. A bf16 is the upper half of the f32 of the same value.
__device__ __forceinline__ Pack<8> unpack(uint4 bits, bf16) {
    const uint32_t pairs[4] = {bits.x, bits.y, bits.z, bits.w};
    Pack<8> p;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        p[2 * i] = __uint_as_float(pairs[i] << 16);
        p[2 * i + 1] = __uint_as_float(pairs[i] & 0xffff0000u);
    }
    return p;
}

__device__ __forceinline__ uint32_t narrow_pair(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
}
// A bf16 is the upper half of the f32 of the same value.
__device__ __forceinline__ float2 widen_pair(uint32_t pair) {
    return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)};
}

__device__ __forceinline__ uint4 repack(const Pack<4>& p, float) {
    return {__float_as_uint(p[0]), __float_as_uint(p[1]), __float_as_uint(p[2]), __float_as_uint(p[3])};
}
__device__ __forceinline__ uint4 repack(const Pack<8>& p, bf16) {
    return {narrow_pair(p[0], p[1]), narrow_pair(p[2], p[3]), narrow_pair(p[4], p[5]), narrow_pair(p[6], p[7])};
}

// Pack `i` of a row: one access of 16 bytes, or of one number where N is 1.
template <int N, class T> __device__ __forceinline__ Pack<N> load(const T* row, uint32_t i) {
    if constexpr (N == 1) {
        return {{widen(row[i])}};
    } else {
        static_assert(N == PACK<T>, "a pack is 16 bytes");
        return unpack(reinterpret_cast<const uint4*>(row)[i], T{});
    }
}
template <int N, class T> __device__ __forceinline__ void store(T* row, uint32_t i, const Pack<N>& p) {
    if constexpr (N == 1) {
        row[i] = narrow<T>(p[0]);
    } else {
        static_assert(N == PACK<T>, "a pack is 16 bytes");
        reinterpret_cast<uint4*>(row)[i] = repack(p, T{});
    }
}

// Whether rows of d numbers, one behind the other, are rows of 16-byte packs.
template <class T> __device__ __forceinline__ bool is_packed(uint32_t d) { return d % PACK<T> == 0; }

// One warp copies a row.
template <class T>
__device__ __forceinline__ void copy_row(T* __restrict__ to, const T* __restrict__ from, uint32_t d) {
    const uint32_t lane = threadIdx.x % WARP;
    if (is_packed<T>(d)) {
        const uint4* source = reinterpret_cast<const uint4*>(from);
        uint4* target = reinterpret_cast<uint4*>(to);
#pragma unroll 4
        for (uint32_t i = lane; i < d / PACK<T>; i += WARP) target[i] = source[i];
    } else {
        for (uint32_t i = lane; i < d; i += WARP) to[i] = from[i];
    }
}

// Rows that are there: `bound` of them, unless the device alone knows how many. What is behind them was never written.
__device__ __forceinline__ uint32_t true_rows(uint32_t bound, const uint32_t* live) { return live ? *live : bound; }

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(ALL_LANES, x, step);
    return x;
}
__device__ __forceinline__ uint32_t warp_sum(uint32_t x) { return __reduce_add_sync(ALL_LANES, x); }
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

// The sum over the block, to every thread, in one order on every run. All threads of the block, of whole warps along x,
// call it; `partial` holds a number a warp, and may be used again after a barrier.
template <class X> __device__ __forceinline__ X block_sum(X x, X* partial) {
    x = warp_sum(x);
    if (threadIdx.x % WARP == 0) partial[threadIdx.x / WARP] = x;
    __syncthreads();
    X sum = 0;
    for (uint32_t warp = 0; warp < blockDim.x / WARP; warp++) sum += partial[warp];
    return sum;
}

// Defines `name_f32` and `name_bf16` with one list of parameters, in which `T` stands for the number's type.
#define KERNEL_OF_ELEMENTS(name, threads, parameters, arguments)                                                       \
    extern "C" __global__ void __launch_bounds__(threads) name##_f32 parameters(float) { name<float> arguments; }      \
    extern "C" __global__ void __launch_bounds__(threads) name##_bf16 parameters(bf16) { name<bf16> arguments; }
