// The mean of each segment's rows. A block a segment and chunk of columns.
#include "pool.cuh"

template <int N, class T>
__device__ void pool_chunk(const T* x, T* y, uint32_t d, uint32_t chunk, uint32_t first, uint32_t end) {
    const Pack<N> mean = mean_of_chunk<N>(x, d, chunk, first, end);
    const uint32_t i = chunk * WARP + threadIdx.x;
    if (threadIdx.x < WARP && i < d / N) store<N>(y, i, mean);
}

// x [n, d] → y [count, d]; `chunks` chunks of 32 packs cover a row.
template <class T>
__device__ void mean_pool(const T* __restrict__ x, const uint32_t* __restrict__ offsets, T* __restrict__ y, uint32_t d,
                          uint32_t chunks) {
    const uint32_t segment = blockIdx.x / chunks, chunk = blockIdx.x % chunks;
    const uint32_t first = offsets[segment], end = offsets[segment + 1];
    T* row = y + (size_t)segment * d;
    if (is_packed<T>(d)) {
        pool_chunk<PACK<T>>(x, row, d, chunk, first, end);
    } else {
        pool_chunk<1>(x, row, d, chunk, first, end);
    }
}

#define PARAMETERS(T) (const T* x, const uint32_t* offsets, T* y, uint32_t d, uint32_t chunks)
KERNEL_OF_ELEMENTS(mean_pool, POOL_THREADS, PARAMETERS, (x, offsets, y, d, chunks))
