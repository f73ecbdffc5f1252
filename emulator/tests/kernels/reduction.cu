// Sums by warp shuffles: lanes first, then the warps' sums through shared memory.

__device__ float warp_sum(float v) {
    for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
    return v;
}

// partial[b] = the sum of block b's stretch of x. blockDim.x is a multiple of 32, at most 1024.
extern "C" __global__ void block_sums(const float* x, float* partial, int n) {
    __shared__ float sums[32];
    const int lane = threadIdx.x % 32;
    const int warp = threadIdx.x / 32;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;

    const float mine = warp_sum(i < n ? x[i] : 0.0f);
    if (lane == 0) sums[warp] = mine;
    __syncthreads();

    if (warp == 0) {
        const float total = warp_sum(lane < blockDim.x / 32 ? sums[lane] : 0.0f);
        if (lane == 0) partial[blockIdx.x] = total;
    }
}

// One row a warp: softmax in place, by shuffles alone. cols is arbitrary.
extern "C" __global__ void softmax_rows(float* x, int rows, int cols) {
    const int row = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    const int lane = threadIdx.x % 32;
    if (row >= rows) return;
    float* r = x + (size_t)row * cols;

    float top = -INFINITY;
    for (int c = lane; c < cols; c += 32) top = fmaxf(top, r[c]);
    for (int step = 16; step > 0; step /= 2) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, step));

    float sum = 0.0f;
    for (int c = lane; c < cols; c += 32) sum += __expf(r[c] - top);
    sum = warp_sum(sum);

    for (int c = lane; c < cols; c += 32) r[c] = __expf(r[c] - top) / sum;
}
