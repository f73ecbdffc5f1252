// The twins of bugs.cu: what each of its kernels should have been. None may be reported, under any schedule.

#include <assert.h>
#include <cuda_pipeline_primitives.h>
#include <stdint.h>

#define KERNEL extern "C" __global__ void

__device__ int global_index() { return blockIdx.x * blockDim.x + threadIdx.x; }

KERNEL off_by_one(const float* x, float* y, int n) {
    const int i = global_index();
    if (i < n) y[i] = 2.0f;
}

KERNEL left_neighbour(const float* x, float* y, int n) {
    const int i = global_index();
    y[i] = i > 0 ? x[i - 1] : 0.0f;
}

KERNEL unguarded(const float* x, float* y, int n) {
    const int i = global_index();
    if (i < n) y[i] = 1.0f;
}

KERNEL shared_overrun(const float* x, float* y, int n) {
    extern __shared__ float tile[];
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[global_index()] = tile[0];
}

KERNEL local_overrun(const float* x, float* y, int n) {
    float own[8];
    for (int i = 0; i < 8; ++i) own[i] = x[i];
    const int at = n / 64 + (threadIdx.x & 1);
    y[global_index()] = own[at];
}

KERNEL misaligned_vector(const float* x, float* y, int n) {
    const float4 v = *(const float4*)(x + 4 + threadIdx.x * 0);
    y[global_index()] = v.x + v.w;
}

KERNEL misaligned_matrix(const float* x, float* y, int n) {
    __shared__ __align__(16) uint16_t tile[1024];
    for (int i = threadIdx.x; i < 1024; i += blockDim.x) tile[i] = i;
    __syncthreads();
    const uint32_t row = (uint32_t)__cvta_generic_to_shared(tile + threadIdx.x % 32 * 8);
    uint32_t a, b, c, d;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
                 : "r"(row));
    y[global_index()] = a + b + c + d;
}

KERNEL uninitialised_global(const float* x, float* y, int n) {
    const int i = global_index();
    y[i] = x[i];
}

KERNEL uninitialised_shared(const float* x, float* y, int n) {
    __shared__ float tile[64];
    tile[threadIdx.x] = threadIdx.x < 63 ? x[threadIdx.x] : 0.0f;
    __syncthreads();
    y[global_index()] = tile[threadIdx.x ^ 1];
}

KERNEL missing_barrier(const float* x, float* y, int n) {
    __shared__ float tile[64];
    tile[threadIdx.x] = 0.0f;
    __syncthreads();
    tile[threadIdx.x] = x[global_index()];
    __syncthreads();
    y[global_index()] = tile[63 - threadIdx.x];
}

KERNEL missing_first_barrier(const float* x, float* y, int n) {
    __shared__ float tile[64];
    tile[threadIdx.x] = x[global_index()];
    __syncthreads();
    y[global_index()] = tile[63 - threadIdx.x];
}

KERNEL missing_second_barrier(const float* x, float* y, int n) {
    __shared__ float tile[64];
    float sum = 0.0f;
    for (int round = 0; round < 4; ++round) {
        tile[threadIdx.x] = x[round * 64 + threadIdx.x];
        __syncthreads();
        sum += tile[(threadIdx.x + 32) % 64];
        __syncthreads();
    }
    y[global_index()] = sum;
}

// A barrier for one half of the block alone, by name and count.
KERNEL partial_barrier(const float* x, float* y, int n) {
    __shared__ float tile[64];
    const int half = threadIdx.x / 32;
    tile[threadIdx.x] = x[threadIdx.x];
    asm volatile("bar.sync %0, 32;" ::"r"(half + 1) : "memory");
    y[global_index()] = tile[half * 32 + 31 - threadIdx.x % 32];
}

KERNEL unguarded_counter(const float* x, float* y, int n) {
    __shared__ int bins[4];
    if (threadIdx.x < 4) bins[threadIdx.x] = 0;
    __syncthreads();
    atomicAdd(&bins[threadIdx.x % 4], 1);
    __syncthreads();
    if (threadIdx.x < 4) y[blockIdx.x * 4 + threadIdx.x] = bins[threadIdx.x];
}

KERNEL missing_warp_barrier(const float* x, float* y, int n) {
    __shared__ volatile float tile[64];
    tile[threadIdx.x] = x[threadIdx.x];
    __syncwarp();
    y[global_index()] = tile[threadIdx.x ^ 1];
}

KERNEL divergent_barrier(const float* x, float* y, int n) {
    float v = x[threadIdx.x];
    __syncthreads();
    if (threadIdx.x < 40) v += 1.0f;
    y[global_index()] = v;
}

KERNEL early_return(const float* x, float* y, int n) {
    __shared__ float tile[64];
    if (threadIdx.x < 50) tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    if (threadIdx.x >= 50) return;
    y[blockIdx.x * 64 + threadIdx.x] = tile[49 - threadIdx.x];
}

KERNEL shuffle_without_half(const float* x, float* y, int n) {
    float v = x[threadIdx.x];
    if (threadIdx.x % 32 < 16) v += __shfl_xor_sync(0x0000ffffu, v, 1);
    y[global_index()] = v;
}

KERNEL shuffle_from_outside(const float* x, float* y, int n) {
    float v = x[threadIdx.x];
    if (threadIdx.x % 32 < 16) v = __shfl_sync(0x0000ffffu, v, 12);
    y[global_index()] = v;
}

KERNEL vote_without_half(const float* x, float* y, int n) {
    const bool negative = x[threadIdx.x] < 0.0f;
    const unsigned mask = __ballot_sync(0xffffffffu, negative);
    unsigned votes = 0;
    if (negative) votes = __ballot_sync(mask, threadIdx.x % 2);
    y[global_index()] = votes;
}

KERNEL missing_wait(const float* x, float* y, int n) {
    __shared__ __align__(16) float tile[64];
    __pipeline_memcpy_async(tile + threadIdx.x, x + threadIdx.x, 4);
    __pipeline_commit();
    __pipeline_wait_prior(0);
    y[global_index()] = tile[threadIdx.x];
}

KERNEL wait_for_the_wrong_group(const float* x, float* y, int n) {
    __shared__ __align__(16) float tile[2][64];
    __pipeline_memcpy_async(&tile[0][threadIdx.x], x + threadIdx.x, 4);
    __pipeline_commit();
    __pipeline_memcpy_async(&tile[1][threadIdx.x], x + 64 + threadIdx.x, 4);
    __pipeline_commit();
    __pipeline_wait_prior(1);
    float v = tile[0][threadIdx.x];
    __pipeline_wait_prior(0);
    y[global_index()] = v + tile[1][threadIdx.x];
}

KERNEL wait_without_barrier(const float* x, float* y, int n) {
    __shared__ __align__(16) float tile[64];
    __pipeline_memcpy_async(tile + threadIdx.x, x + threadIdx.x, 4);
    __pipeline_commit();
    __pipeline_wait_prior(0);
    __syncthreads();
    y[global_index()] = tile[63 - threadIdx.x];
}

KERNEL misaligned_async_copy(const float* x, float* y, int n) {
    __shared__ __align__(16) float tile[256];
    const uint32_t to = (uint32_t)__cvta_generic_to_shared(tile + threadIdx.x * 4);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(x + threadIdx.x * 4));
    __pipeline_commit();
    __pipeline_wait_prior(0);
    y[global_index()] = tile[threadIdx.x * 4 + 1];
}

// cp.async that brings 4 of 16 bytes and zeros for the others.
KERNEL async_copy_with_zeros(const float* x, float* y, int n) {
    __shared__ __align__(16) float tile[256];
    __pipeline_memcpy_async(tile + threadIdx.x * 4, x + threadIdx.x * 4, 16, 12);
    __pipeline_commit();
    __pipeline_wait_prior(0);
    y[global_index()] = tile[threadIdx.x * 4] + tile[threadIdx.x * 4 + 3];
}

KERNEL blocks_write_one_place(const float* x, float* y, int n) {
    y[global_index()] = x[threadIdx.x];
}

KERNEL blocks_count_without_atomics(const float* x, float* y, int n) {
    if (threadIdx.x == 0) atomicAdd(y, 1.0f);
}

KERNEL block_reads_what_another_writes(const float* x, float* y, int n) {
    const int i = global_index();
    y[i] = x[(i + 64) % n];
}

// The last block to come adds up what the others left, as __threadfence and an atomic counter allow.
KERNEL last_block_sums(const float* x, float* y, int n) {
    __shared__ bool last;
    if (threadIdx.x == 0) {
        y[1 + blockIdx.x] = x[blockIdx.x];
        __threadfence();
        last = atomicAdd((unsigned*)y, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        __threadfence();
        float sum = 0.0f;
        for (int b = 0; b < gridDim.x; ++b) sum += ((volatile float*)y)[1 + b];
        y[1 + gridDim.x] = sum;
    }
}

KERNEL gives_up(const float* x, float* y, int n) {
    if (threadIdx.x == 64) __trap();
    y[global_index()] = 0.0f;
}

KERNEL asserts(const float* x, float* y, int n) {
    assert(threadIdx.x < 64);
    y[global_index()] = 0.0f;
}
