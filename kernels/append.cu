// Keys and values of each sequence's newest token go to its place in the cache. A warp a row.
#include "element.cuh"

constexpr uint32_t WARPS = 8;

// k, v [batch, d]; sequence b owns the rows from b · capacity on of the caches.
template <class T>
__device__ void append(const T* __restrict__ k, const T* __restrict__ v, T* __restrict__ cached_k,
                       T* __restrict__ cached_v, uint32_t batch, uint32_t d, uint32_t capacity, uint32_t place) {
    const uint32_t warp = blockIdx.x * WARPS + threadIdx.y;
    const uint32_t sequence = warp / 2;
    if (sequence >= batch) return;
    const bool is_key = warp % 2 == 0;
    T* cache = is_key ? cached_k : cached_v;
    copy_row(cache + ((size_t)sequence * capacity + place) * d, (is_key ? k : v) + (size_t)sequence * d, d);
}

#define PARAMETERS(T)                                                                                                  \
    (const T* k, const T* v, T* cached_k, T* cached_v, uint32_t batch, uint32_t d, uint32_t capacity, uint32_t place)
KERNEL_OF_ELEMENTS(append, WARP * WARPS, PARAMETERS, (k, v, cached_k, cached_v, batch, d, capacity, place))
