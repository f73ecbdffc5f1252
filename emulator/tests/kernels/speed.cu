// Work of one kind, for measuring how fast it is executed.

// 16 fma and 16 integer operations a round, in chains of their own.
extern "C" __global__ void arithmetic(float* y, int rounds) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    float a = i * 1e-3f, b = a + 1.0f;
    unsigned u = i, v = i ^ 0x55;
    for (int round = 0; round < rounds; ++round) {
#pragma unroll
        for (int k = 0; k < 8; ++k) {
            a = a * 0.999f + 0.5f;
            b = b * 1.001f - 0.25f;
            u = u * 5u + 7u;
            v = (v ^ u) + k;
        }
    }
    y[i] = a + b + (u ^ v);
}
