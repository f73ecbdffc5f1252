// What a launch can ask for beyond a grid and a block.

#include <stdio.h>

__constant__ float weights[4] = {1.0f, 2.0f, 3.0f, 4.0f};
__device__ int counter = 5;

extern "C" __global__ void weighted(float* y) { y[threadIdx.x] = weights[threadIdx.x % 4] * threadIdx.x; }

extern "C" __global__ void count() { atomicAdd(&counter, 1); }

extern "C" __global__ void __launch_bounds__(128, 2) bounded(float* y) { y[blockIdx.x * blockDim.x + threadIdx.x] = 1.0f; }

// Turns the block's numbers around by way of as much dynamic shared memory as the launch gives.
extern "C" __global__ void turn_around(int* y, int n) {
    extern __shared__ int tile[];
    for (int i = threadIdx.x; i < n; i += blockDim.x) tile[i] = y[i];
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = tile[n - 1 - i];
}

struct Argument {
    char letter;
    double number;
    short list[3];
};

extern "C" __global__ void arguments(char a, short b, int c, long long d, float e, double f, Argument g, double* y) {
    y[0] = a;
    y[1] = b;
    y[2] = c;
    y[3] = d;
    y[4] = e;
    y[5] = f;
    y[6] = g.letter;
    y[7] = g.number;
    y[8] = g.list[0] + g.list[1] + g.list[2];
}

// A barrier of the whole grid, made of an atomic counter: ends only if all blocks are there at once.
extern "C" __global__ void rounds(unsigned* arrived, int* y, int count) {
    const int n = gridDim.x;
    for (int round = 0; round < count; ++round) {
        const int from = y[round * n + (blockIdx.x + 1) % n];
        if (threadIdx.x == 0) {
            y[(round + 1) * n + blockIdx.x] = from + 1;
            __threadfence();
            atomicAdd(arrived, 1u);
            while (atomicAdd(arrived, 0u) < (round + 1) * n) {
            }
            __threadfence();
        }
        __syncthreads();
    }
}

extern "C" __global__ void says() { printf("block %d of %d: %s %.2f\n", blockIdx.x, gridDim.x, "half", 0.5); }
