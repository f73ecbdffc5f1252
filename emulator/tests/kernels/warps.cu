// What warps do together, and how control flow takes them apart and brings them back.

// One row of 16 results a thread.
extern "C" __global__ void warps(const int* a, int* out) {
    const int lane = threadIdx.x;
    const int x = a[lane];
    const unsigned all = 0xffffffffu;
    int* row = out + lane * 16;
    row[0] = __shfl_sync(all, x, 5);
    row[1] = __shfl_up_sync(all, x, 3);
    row[2] = __shfl_down_sync(all, x, 3);
    row[3] = __shfl_xor_sync(all, x, 9);
    row[4] = __shfl_sync(all, x, 3, 8);
    row[5] = __shfl_up_sync(all, x, 2, 16);
    row[6] = __ballot_sync(all, x > 0);
    row[7] = __any_sync(all, x > 90) + 2 * __all_sync(all, x > -200);
    row[8] = __match_any_sync(all, x & 3);
    int same;
    row[9] = __match_all_sync(all, x & 0, &same) + same;
    row[10] = __reduce_add_sync(all, x);
    row[11] = __reduce_min_sync(all, x);
    row[12] = __reduce_or_sync(all, (unsigned)x);
    row[13] = __activemask();
    unsigned below;
    asm("mov.u32 %0, %lanemask_lt;" : "=r"(below));
    row[14] = __popc(__ballot_sync(all, x & 1) & below);
    row[15] = 0;
    if (x > 0) row[15] = __reduce_max_sync(__activemask(), x);
}

__device__ __noinline__ int collatz(unsigned n) {
    int steps = 0;
    while (n != 1) {
        n = n % 2 ? 3 * n + 1 : n / 2;
        if (++steps > 200) return -1;
    }
    return steps;
}

// Loops of different lengths, breaks, continues, early returns, a switch, and calls: one row of 6 results a thread.
extern "C" __global__ void flow(const int* a, int* out, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const int x = a[i];
    int* row = out + i * 6;
    row[0] = collatz((x & 63) + 1);
    int sum = 0;
    for (int k = 0; k < 50; ++k) {
        if (k % 3 == x % 3) continue;
        if (sum > 2 * (x & 127)) break;
        sum += k;
    }
    row[1] = sum;
    int chosen;
    switch (x & 7) {
        case 0: chosen = x * 3; break;
        case 1: chosen = x - 100; break;
        case 2: chosen = __popc(x);  // falls through
        case 3: chosen = collatz((x & 15) + 1); break;
        case 4: chosen = x ^ 0x2a; break;
        case 5: row[2] = -5; row[3] = row[4] = row[5] = 0; return;
        default: chosen = 1000;
    }
    row[2] = chosen;
    int inside = 0;
    for (int p = 0; p <= (x & 3); ++p)
        for (int q = 0; q < 4; ++q) {
            if ((p + q + x) % 5 == 0) goto found;
            inside += p * q + 1;
        }
    inside += 1000;
found:
    row[3] = inside;
    int table[5] = {3, 1, 4, 1, 5};
    for (int k = 0; k < 5; ++k) table[(k + x) & 3] += table[k];
    row[4] = table[x & 3] * 10 + table[4];
    row[5] = x < 0 ? (x & 1 ? -1 : -2) : (x & 1 ? 1 : 2);
}

// One result of each atomic operation.
extern "C" __global__ void atomics(const int* a, int* out, unsigned long long* wide, float* single, double* fine) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const int x = a[i];
    atomicAdd(out, x);
    atomicMin(out + 1, x);
    atomicMax(out + 2, x);
    atomicAnd(out + 3, x);
    atomicOr(out + 4, x);
    atomicXor(out + 5, x);
    atomicInc((unsigned*)out + 6, 9u);
    atomicDec((unsigned*)out + 7, 9u);
    // The longest of the values by compare and swap.
    int seen = atomicAdd(out + 8, 0);
    while (abs(x) > abs(seen)) {
        const int before = atomicCAS(out + 8, seen, x);
        if (before == seen) break;
        seen = before;
    }
    if (x == a[0]) atomicExch(out + 9, x);
    atomicAdd(wide, (unsigned long long)(x + 1000) << 20);
    atomicMax(wide + 1, (unsigned long long)(x + 1000) << 33);
    atomicAdd(single, (float)x);
    atomicAdd(fine, x / 4.0);
}
