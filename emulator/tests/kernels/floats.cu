// Floating-point operators, conversions and functions, in f32, f64, f16 and bf16.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// One row of 24 results a thread: all exact, or rounded once as the name says.
extern "C" __global__ void rounded(const float* a, const float* b, float* out, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float x = a[i], y = b[i];
    float* row = out + i * 24;
    row[0] = __fadd_rn(x, y);
    row[1] = __fsub_rn(x, y);
    row[2] = __fmul_rn(x, y);
    row[3] = __fmaf_rn(x, y, 0.1f);
    row[4] = x / y;
    row[5] = sqrtf(fabsf(x));
    row[6] = __frcp_rn(x);
    row[7] = fminf(x, y);
    row[8] = fmaxf(x, y);
    row[9] = floorf(x);
    row[10] = ceilf(x);
    row[11] = truncf(x);
    row[12] = rintf(x);
    row[13] = roundf(x);
    row[14] = copysignf(x, y);
    row[15] = __float2int_rn(x);
    row[16] = __float2int_rz(x);
    row[17] = __float2uint_rz(x);
    row[18] = __int2float_rn(__float_as_int(x));
    row[19] = __saturatef(x);
    row[20] = (float)((double)x * (double)y);
    row[21] = __fadd_rz(x, y);
    row[22] = __fmul_ru(x, y);
    row[23] = isnan(x) || isinf(y) ? 1.0f : signbit(x) ? 2.0f : 3.0f;
}

// One row of 16 results a thread: approximations of the hardware, and the compiler's own library.
extern "C" __global__ void functions(const float* a, float* out, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float x = a[i];
    float* row = out + i * 16;
    float t;
    asm("tanh.approx.f32 %0, %1;" : "=f"(t) : "f"(x));
    row[0] = __expf(x);
    row[1] = __logf(x);
    row[2] = __sinf(x);
    row[3] = __cosf(x);
    row[4] = rsqrtf(x);
    row[5] = __fdividef(1.0f, x);
    row[6] = t;
    row[7] = exp2f(x);
    row[8] = expf(x);
    row[9] = logf(x);
    row[10] = sinf(x);
    row[11] = tanhf(x);
    row[12] = erff(x);
    row[13] = powf(x, 1.5f);
    row[14] = log1pf(x);
    row[15] = cbrtf(x);
}

// One row of 8 results a thread.
extern "C" __global__ void doubles(const double* a, const double* b, double* out, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const double x = a[i], y = b[i];
    double* row = out + i * 8;
    row[0] = x + y;
    row[1] = x * y;
    row[2] = fma(x, y, 0.1);
    row[3] = x / y;
    row[4] = sqrt(fabs(x));
    row[5] = exp(x);
    row[6] = (double)(long long)x;
    row[7] = fmin(x, y);
}

// One row of 12 results a thread, as the bits of f16 or bf16.
extern "C" __global__ void halves(const float* a, const float* b, unsigned short* out, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const __half x = __float2half_rn(a[i]), y = __float2half_rn(b[i]);
    const __nv_bfloat16 u = __float2bfloat16_rn(a[i]), v = __float2bfloat16_rn(b[i]);
    unsigned short* row = out + i * 12;
    row[0] = __half_as_ushort(x);
    row[1] = __half_as_ushort(__hadd(x, y));
    row[2] = __half_as_ushort(__hmul(x, y));
    row[3] = __half_as_ushort(__hfma(x, y, x));
    row[4] = __bfloat16_as_ushort(u);
    row[5] = __bfloat16_as_ushort(__hfma(u, v, u));
    row[6] = __bfloat16_as_ushort(__hmax(u, v));
    const __half2 p = __halves2half2(x, y), q = __halves2half2(y, x);
    const __half2 r = __hfma2(p, q, p);
    row[7] = __half_as_ushort(__low2half(r));
    row[8] = __half_as_ushort(__high2half(r));
    const __nv_bfloat162 s = __hfma2(__halves2bfloat162(u, v), __halves2bfloat162(v, u), __halves2bfloat162(u, u));
    row[9] = __bfloat16_as_ushort(__low2bfloat16(s));
    row[10] = __bfloat16_as_ushort(__high2bfloat16(s));
    const __nv_bfloat162 packed = __float22bfloat162_rn(make_float2(a[i], b[i]));
    row[11] = __bfloat16_as_ushort(__high2bfloat16(packed));
}
