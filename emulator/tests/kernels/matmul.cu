// y = x · wᵀ in bf16 with f32 accumulation: the textbook tiled matmul of sm_80.
// A block of 4 warps makes a 64 × 64 tile of y; the inner dimension goes by in slices of 32, two in flight (cp.async).
// x [m, k], w [n, k], y [m, n], all row-major; m and n are multiples of 64, k of 32.

#include <cuda_bf16.h>
#include <stdint.h>

constexpr unsigned TILE = 64;
constexpr unsigned SLICE = 32;
constexpr unsigned THREADS = 128;

// Sixteen-byte chunks of a row of 32 bf16 are permuted by the row, so that ldmatrix and cp.async meet no bank twice.
__device__ unsigned place(unsigned row, unsigned chunk) { return row * SLICE + ((chunk ^ ((row / 2) % 4)) * 8); }

__device__ uint32_t shared_address(const void* p) { return (uint32_t)__cvta_generic_to_shared(p); }

__device__ void copy_async(void* to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from));
}

__device__ void load_tile(__nv_bfloat16* tile, const __nv_bfloat16* from, int stride) {
    for (unsigned part = 0; part < TILE * SLICE / 8 / THREADS; ++part) {
        const unsigned i = part * THREADS + threadIdx.x;
        const unsigned row = i / 4, chunk = i % 4;
        copy_async(tile + place(row, chunk), from + (size_t)row * stride + chunk * 8);
    }
}

__device__ void load_matrices(uint32_t (&r)[4], const __nv_bfloat16* p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p)));
}

__device__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

extern "C" __global__ void __launch_bounds__(THREADS)
    matmul(const __nv_bfloat16* x, const __nv_bfloat16* w, float* y, int n, int k) {
    __shared__ __align__(16) __nv_bfloat16 xs[2][TILE * SLICE];
    __shared__ __align__(16) __nv_bfloat16 ws[2][TILE * SLICE];
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const __nv_bfloat16* xt = x + (size_t)blockIdx.y * TILE * k;
    const __nv_bfloat16* wt = w + (size_t)blockIdx.x * TILE * k;

    float acc[8][4] = {};
    const int slices = k / SLICE;
    load_tile(xs[0], xt, k);
    load_tile(ws[0], wt, k);
    asm volatile("cp.async.commit_group;");

    for (int s = 0; s < slices; ++s) {
        const int now = s % 2;
        if (s + 1 < slices) {
            load_tile(xs[1 - now], xt + (s + 1) * SLICE, k);
            load_tile(ws[1 - now], wt + (s + 1) * SLICE, k);
        }
        asm volatile("cp.async.commit_group;");
        asm volatile("cp.async.wait_group 1;");
        __syncthreads();

        for (int step = 0; step < SLICE / 16; ++step) {
            uint32_t a[4];
            load_matrices(a, xs[now] + place(warp * 16 + lane % 16, step * 2 + lane / 16));
            for (int pair = 0; pair < 4; ++pair) {
                uint32_t b[4];
                load_matrices(b, ws[now] + place(pair * 16 + lane % 8 + lane / 16 * 8, step * 2 + lane / 8 % 2));
                multiply(acc[pair * 2], a, b[0], b[1]);
                multiply(acc[pair * 2 + 1], a, b[2], b[3]);
            }
        }
        __syncthreads();
    }

    const unsigned row = blockIdx.y * TILE + warp * 16 + lane / 4;
    for (int j = 0; j < 8; ++j) {
        const unsigned col = blockIdx.x * TILE + j * 8 + lane % 4 * 2;
        *(float2*)(y + (size_t)row * n + col) = make_float2(acc[j][0], acc[j][1]);
        *(float2*)(y + (size_t)(row + 8) * n + col) = make_float2(acc[j][2], acc[j][3]);
    }
}
