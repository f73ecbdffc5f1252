// One bug a kernel, at the line marked with BUG and the kind that the report must name; clean.cu has the twins without.
// All are launched with x [256] filled, y [256] filled, n = 256, in blocks of 64 threads unless the test says otherwise.

#include <assert.h>
#include <cuda_pipeline_primitives.h>
#include <stdint.h>

#define KERNEL extern "C" __global__ void

__device__ int global_index() { return blockIdx.x * blockDim.x + threadIdx.x; }

// --- addresses ---

KERNEL off_by_one(const float* x, float* y, int n) {
    const int i = global_index();
    if (i <= n) {
        y[i] = 2.0f;  // BUG out_of_bounds
    }
}

KERNEL left_neighbour(const float* x, float* y, int n) {
    const int i = global_index();
    y[i] = x[i - 1];  // BUG out_of_bounds
}

KERNEL unguarded(const float* x, float* y, int n) {
    const int i = global_index();
    y[i] = 1.0f;  // BUG out_of_bounds
}

KERNEL null_pointer(const float* x, float* y, int n) {
    y[global_index()] = x[threadIdx.x];  // BUG out_of_bounds
}

KERNEL shared_overrun(const float* x, float* y, int n) {
    extern __shared__ float tile[];
    tile[threadIdx.x + 1] = x[threadIdx.x];  // BUG out_of_bounds
    __syncthreads();
    y[threadIdx.x] = tile[1];
}

KERNEL local_overrun(const float* x, float* y, int n) {
    float own[8];
    for (int i = 0; i < 8; ++i) own[i] = x[i];
    const int at = n / 32 + (threadIdx.x & 1);
    y[global_index()] = own[at];  // BUG out_of_bounds
}

KERNEL misaligned_vector(const float* x, float* y, int n) {
    const float4 v = *(const float4*)(x + 1 + threadIdx.x * 0);  // BUG misaligned
    y[global_index()] = v.x + v.w;
}

KERNEL misaligned_matrix(const float* x, float* y, int n) {
    __shared__ __align__(16) uint16_t tile[1024];
    for (int i = threadIdx.x; i < 1024; i += blockDim.x) tile[i] = i;
    __syncthreads();
    const uint32_t row = (uint32_t)__cvta_generic_to_shared(tile + threadIdx.x % 32 * 12);
    uint32_t a, b, c, d;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a), "=r"(b), "=r"(c), "=r"(d)
                 : "r"(row));  // BUG misaligned
    y[global_index()] = a + b + c + d;
}

KERNEL use_after_free(const float* x, float* y, int n) {
    const int i = global_index();
    y[i] = x[i];  // BUG use_after_free
}

// --- values that nobody wrote ---

KERNEL uninitialised_global(const float* x, float* y, int n) {
    const int i = global_index();
    y[i] += x[i];  // BUG uninitialised
}

KERNEL uninitialised_shared(const float* x, float* y, int n) {
    __shared__ float tile[64];
    if (threadIdx.x < 63) tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[global_index()] = tile[threadIdx.x ^ 1];  // BUG uninitialised
}

// --- shared memory without the barrier ---

KERNEL missing_barrier(const float* x, float* y, int n) {
    __shared__ float tile[64];
    tile[threadIdx.x] = 0.0f;
    __syncthreads();
    tile[threadIdx.x] = x[global_index()];  // BUG shared_race
    y[global_index()] = tile[63 - threadIdx.x];  // BUG shared_race
}

// The same on memory that nobody had written: what is read may be what the other thread wrote, or nothing at all.
KERNEL missing_first_barrier(const float* x, float* y, int n) {
    __shared__ float tile[64];
    tile[threadIdx.x] = x[global_index()];  // BUG shared_race
    y[global_index()] = tile[63 - threadIdx.x];  // BUG shared_race or uninitialised
}

KERNEL missing_second_barrier(const float* x, float* y, int n) {
    __shared__ float tile[64];
    float sum = 0.0f;
    for (int round = 0; round < 4; ++round) {
        tile[threadIdx.x] = x[round * 64 + threadIdx.x];  // BUG shared_race
        __syncthreads();
        sum += tile[(threadIdx.x + 32) % 64];  // BUG shared_race
    }
    y[global_index()] = sum;
}

KERNEL unguarded_counter(const float* x, float* y, int n) {
    __shared__ int bins[4];
    if (threadIdx.x < 4) bins[threadIdx.x] = 0;
    __syncthreads();
    bins[threadIdx.x % 4] += 1;  // BUG shared_race
    __syncthreads();
    if (threadIdx.x < 4) y[threadIdx.x] = bins[threadIdx.x];
}

KERNEL missing_warp_barrier(const float* x, float* y, int n) {
    __shared__ volatile float tile[64];
    tile[threadIdx.x] = x[threadIdx.x];
    y[global_index()] = tile[threadIdx.x ^ 1];  // BUG shared_race
}

// --- threads that do not come ---

KERNEL divergent_barrier(const float* x, float* y, int n) {
    float v = x[threadIdx.x];
    if (threadIdx.x < 40) {
        __syncthreads();  // BUG barrier_divergence
        v += 1.0f;
    }
    y[global_index()] = v;
}

KERNEL early_return(const float* x, float* y, int n) {
    __shared__ float tile[64];
    if (threadIdx.x >= 50) return;
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();  // BUG barrier_divergence
    y[threadIdx.x] = tile[49 - threadIdx.x];
}

KERNEL shuffle_without_half(const float* x, float* y, int n) {
    float v = x[threadIdx.x];
    if (threadIdx.x % 32 < 16) {
        v += __shfl_xor_sync(0xffffffffu, v, 1);  // BUG missing_lanes
    }
    y[global_index()] = v;
}

KERNEL shuffle_from_outside(const float* x, float* y, int n) {
    float v = x[threadIdx.x];
    if (threadIdx.x % 32 < 16) {
        v = __shfl_sync(0x0000ffffu, v, 20);  // BUG missing_lanes
    }
    y[global_index()] = v;
}

KERNEL vote_without_half(const float* x, float* y, int n) {
    unsigned votes = 0;
    if (x[threadIdx.x] < 0.0f) {
        votes = __ballot_sync(0xffffffffu, threadIdx.x % 2);  // BUG missing_lanes
    }
    y[global_index()] = votes;
}

// --- cp.async ---

KERNEL missing_wait(const float* x, float* y, int n) {
    __shared__ __align__(16) float tile[64];
    __pipeline_memcpy_async(tile + threadIdx.x, x + threadIdx.x, 4);
    __pipeline_commit();
    y[global_index()] = tile[threadIdx.x];  // BUG async_not_waited
}

KERNEL wait_for_the_wrong_group(const float* x, float* y, int n) {
    __shared__ __align__(16) float tile[2][64];
    __pipeline_memcpy_async(&tile[0][threadIdx.x], x + threadIdx.x, 4);
    __pipeline_commit();
    __pipeline_memcpy_async(&tile[1][threadIdx.x], x + 64 + threadIdx.x, 4);
    __pipeline_commit();
    __pipeline_wait_prior(1);
    y[global_index()] = tile[0][threadIdx.x] +
                        tile[1][threadIdx.x];  // BUG async_not_waited
}

KERNEL wait_without_barrier(const float* x, float* y, int n) {
    __shared__ __align__(16) float tile[64];
    __pipeline_memcpy_async(tile + threadIdx.x, x + threadIdx.x, 4);
    __pipeline_commit();
    __pipeline_wait_prior(0);
    y[global_index()] = tile[63 - threadIdx.x];  // BUG shared_race or uninitialised
}

KERNEL misaligned_async_copy(const float* x, float* y, int n) {
    __shared__ __align__(16) float tile[260];
    const uint32_t to = (uint32_t)__cvta_generic_to_shared(tile + threadIdx.x * 4 + 1);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(x + threadIdx.x * 4));  // BUG misaligned
    __pipeline_commit();
    __pipeline_wait_prior(0);
    y[global_index()] = tile[threadIdx.x * 4 + 1];
}

// --- blocks that meet ---

KERNEL blocks_write_one_place(const float* x, float* y, int n) {
    y[threadIdx.x] = x[global_index()];  // BUG global_race
}

KERNEL blocks_count_without_atomics(const float* x, float* y, int n) {
    if (threadIdx.x == 0) {
        y[0] += 1.0f;  // BUG global_race
    }
}

KERNEL block_reads_what_another_writes(const float* x, float* y, int n) {
    const int i = global_index();
    const float v = y[(i + 64) % n];  // BUG global_race
    __syncthreads();
    y[i] = v;  // BUG global_race
}

// --- the kernel's own ---

KERNEL gives_up(const float* x, float* y, int n) {
    if (threadIdx.x == 5) {
        __trap();  // BUG trap
    }
    y[global_index()] = 0.0f;
}

KERNEL asserts(const float* x, float* y, int n) {
    assert(threadIdx.x < 50);  // BUG assert
    y[global_index()] = 0.0f;
}
