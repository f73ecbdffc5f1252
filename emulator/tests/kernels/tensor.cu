// mma.sync in each shape and type, fragments filled element by element as the PTX manual lays them out; ldmatrix transposed.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

__device__ unsigned pack(unsigned short low, unsigned short high) { return low | (unsigned)high << 16; }

// c[16, 8] = a[16, 16] · b[8, 16]ᵀ, f16 or bf16 as bits.
template <bool BRAIN>
__device__ void half_product(const unsigned short* a, const unsigned short* b, float* c) {
    const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    unsigned fa[4], fb[2];
    for (int j = 0; j < 4; ++j) {
        const unsigned short* p = a + (g + j % 2 * 8) * 16 + t * 2 + j / 2 * 8;
        fa[j] = pack(p[0], p[1]);
    }
    for (int j = 0; j < 2; ++j) {
        const unsigned short* p = b + g * 16 + t * 2 + j * 8;
        fb[j] = pack(p[0], p[1]);
    }
    float r[4] = {};
    if (BRAIN)
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(r[0]), "+f"(r[1]), "+f"(r[2]), "+f"(r[3])
            : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    else
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(r[0]), "+f"(r[1]), "+f"(r[2]), "+f"(r[3])
            : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    for (int j = 0; j < 4; ++j) c[(g + j / 2 * 8) * 8 + t * 2 + j % 2] = r[j];
}

extern "C" __global__ void product_bf16(const unsigned short* a, const unsigned short* b, float* c) { half_product<true>(a, b, c); }
extern "C" __global__ void product_f16(const unsigned short* a, const unsigned short* b, float* c) { half_product<false>(a, b, c); }

// c[16, 8] = a[16, 8] · b[8, 8]ᵀ in bf16: m16n8k8.
extern "C" __global__ void product_bf16_short(const unsigned short* a, const unsigned short* b, float* c) {
    const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    const unsigned a0 = pack(a[g * 8 + t * 2], a[g * 8 + t * 2 + 1]);
    const unsigned a1 = pack(a[(g + 8) * 8 + t * 2], a[(g + 8) * 8 + t * 2 + 1]);
    const unsigned b0 = pack(b[g * 8 + t * 2], b[g * 8 + t * 2 + 1]);
    float r[4] = {};
    asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(r[0]), "+f"(r[1]), "+f"(r[2]), "+f"(r[3])
        : "r"(a0), "r"(a1), "r"(b0));
    for (int j = 0; j < 4; ++j) c[(g + j / 2 * 8) * 8 + t * 2 + j % 2] = r[j];
}

// c[16, 8] = a[16, 8] · b[8, 8]ᵀ in tf32.
extern "C" __global__ void product_tf32(const float* a, const float* b, float* c) {
    const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    unsigned fa[4], fb[2];
    for (int j = 0; j < 4; ++j) fa[j] = __float_as_uint(a[(g + j % 2 * 8) * 8 + t + j / 2 * 4]);
    for (int j = 0; j < 2; ++j) fb[j] = __float_as_uint(b[g * 8 + t + j * 4]);
    float r[4] = {};
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(r[0]), "+f"(r[1]), "+f"(r[2]), "+f"(r[3])
        : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    for (int j = 0; j < 4; ++j) c[(g + j / 2 * 8) * 8 + t * 2 + j % 2] = r[j];
}

// c[16, 8] = a[16, 32] · b[8, 32]ᵀ in int8.
extern "C" __global__ void product_int8(const int* a, const int* b, int* c) {
    const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    int fa[4], fb[2], r[4] = {};
    for (int j = 0; j < 4; ++j) fa[j] = a[(g + j % 2 * 8) * 8 + t + j / 2 * 4];
    for (int j = 0; j < 2; ++j) fb[j] = b[g * 8 + t + j * 4];
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(r[0]), "+r"(r[1]), "+r"(r[2]), "+r"(r[3])
        : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    for (int j = 0; j < 4; ++j) c[(g + j / 2 * 8) * 8 + t * 2 + j % 2] = r[j];
}

// Four 8 × 8 matrices of 16 bits, transposed on the way to registers; out[matrix][lane] is the lane's register.
extern "C" __global__ void transposed(const unsigned short* a, unsigned* out) {
    __shared__ __align__(16) unsigned short tile[256];
    const int lane = threadIdx.x;
    for (int i = lane; i < 256; i += 32) tile[i] = a[i];
    __syncwarp();
    unsigned r[4];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((uint32_t)__cvta_generic_to_shared(tile + lane * 8)));
    for (int j = 0; j < 4; ++j) out[j * 32 + lane] = r[j];
    unsigned s, u, v;
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
                 : "=r"(s)
                 : "r"((uint32_t)__cvta_generic_to_shared(tile + lane % 8 * 8)));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(u), "=r"(v)
                 : "r"((uint32_t)__cvta_generic_to_shared(tile + lane % 16 * 8)));
    out[4 * 32 + lane] = s;
    out[5 * 32 + lane] = u;
    out[6 * 32 + lane] = v;
}

// A pipeline of two warps held together by an mbarrier: the first makes what the second takes.
extern "C" __global__ void producer_consumer(const int* a, int* out, int rounds) {
    __shared__ int slot[32];
    __shared__ __align__(8) uint64_t full, empty;
    const uint32_t f = (uint32_t)__cvta_generic_to_shared(&full), e = (uint32_t)__cvta_generic_to_shared(&empty);
    if (threadIdx.x == 0) {
        asm volatile("mbarrier.init.shared.b64 [%0], 32;" ::"r"(f) : "memory");
        asm volatile("mbarrier.init.shared.b64 [%0], 32;" ::"r"(e) : "memory");
    }
    __syncthreads();
    const int lane = threadIdx.x % 32;
    const auto wait = [](uint32_t barrier, int parity) {
        unsigned done;
        do {
            asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                         : "=r"(done)
                         : "r"(barrier), "r"(parity)
                         : "memory");
        } while (!done);
    };
    const auto arrive = [](uint32_t barrier) {
        asm volatile("{ .reg .b64 t; mbarrier.arrive.shared.b64 t, [%0]; }" ::"r"(barrier) : "memory");
    };
    for (int round = 0; round < rounds; ++round) {
        if (threadIdx.x < 32) {
            if (round > 0) wait(e, (round - 1) & 1);
            slot[lane] = a[round * 32 + lane];
            arrive(f);
        } else {
            wait(f, round & 1);
            out[round * 32 + lane] = slot[31 - lane] * 2;
            arrive(e);
        }
    }
}

// Loads and stores of each width, with each hint that the language has.
extern "C" __global__ void vectors(const uint4* a, uint4* b, const uint2* c, uint2* d, const uchar4* e, uchar4* f) {
    const int i = threadIdx.x;
    b[i] = __ldg(a + i);
    __stcs(b + 32 + i, __ldcs(a + i));
    __stcg(d + i, __ldcg(c + i));
    const uchar4 q = e[i];
    f[i] = make_uchar4(q.w, q.z, q.y, q.x);
    asm volatile("prefetch.global.L2 [%0];" ::"l"(a + i));
}
