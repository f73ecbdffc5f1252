// Integer intrinsics and operators: what the compiler makes of each is compared with the host's own arithmetic.

#include <stdint.h>

// One row of 32 results a thread.
extern "C" __global__ void integers(const int* a, const int* b, int* out, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const int x = a[i], y = b[i];
    const unsigned u = x, v = y;
    int* row = out + i * 32;
    row[0] = x + y;
    row[1] = x - y;
    row[2] = x * y;
    row[3] = y != 0 && !(x == INT32_MIN && y == -1) ? x / y : 0;
    row[4] = y != 0 && !(x == INT32_MIN && y == -1) ? x % y : 0;
    row[5] = v != 0 ? u / v : 0;
    row[6] = v != 0 ? u % v : 0;
    row[7] = x << (y & 31);
    row[8] = x >> (y & 31);
    row[9] = u >> (y & 31);
    row[10] = __popc(x);
    row[11] = __clz(x);
    row[12] = __brev(u);
    row[13] = __ffs(x);
    row[14] = __byte_perm(x, y, 0x3614);
    row[15] = __funnelshift_l(u, v, y & 31);
    row[16] = __funnelshift_r(u, v, y & 31);
    row[17] = __mulhi(x, y);
    row[18] = __umulhi(u, v);
    row[19] = __sad(x, y, 7);
    row[20] = __usad(u, v, 7u);
    row[21] = min(x, y);
    row[22] = max(u, v);
    row[23] = abs(x);
    row[24] = __dp4a(x, y, 5);
    row[25] = __dp4a(u, v, 5u);
    row[26] = __vadd4(u, v);
    row[27] = x & ~y | (x ^ 0x55);
    row[28] = (int8_t)x + (uint16_t)y;
    row[29] = __mul24(x, y);
    row[30] = __uhadd(u, v);
    row[31] = x < y ? x : u < v ? 17 : y;
}

// One row of 12 results a thread.
extern "C" __global__ void wides(const long long* a, const long long* b, long long* out, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const long long x = a[i], y = b[i];
    const unsigned long long u = x, v = y;
    long long* row = out + i * 12;
    row[0] = x + y;
    row[1] = x * y;
    row[2] = y != 0 && !(x == INT64_MIN && y == -1) ? x / y : 0;
    row[3] = v != 0 ? u % v : 0;
    row[4] = __mul64hi(x, y);
    row[5] = __umul64hi(u, v);
    row[6] = x >> (y & 63);
    row[7] = __popcll(x);
    row[8] = __clzll(x);
    row[9] = __brevll(u);
    row[10] = min(x, y);
    row[11] = (long long)(int)x * (int)y + (unsigned)x * (unsigned long long)(unsigned)y;
}
