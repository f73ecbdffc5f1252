// y[i] = table[ids[i]]. A warp a row.
#include "element.cuh"

constexpr uint32_t WARPS = 8;

template <class T>
__device__ void embed(const T* __restrict__ table, const uint32_t* __restrict__ ids, T* __restrict__ y, uint32_t d,
                      uint32_t bound, const uint32_t* live) {
    const uint32_t row = blockIdx.x * WARPS + threadIdx.y;
    if (row < true_rows(bound, live)) copy_row(y + (size_t)row * d, table + (size_t)ids[row] * d, d);
}

#define PARAMETERS(T) (const T* table, const uint32_t* ids, T* y, uint32_t d, uint32_t bound, const uint32_t* live)
KERNEL_OF_ELEMENTS(embed, WARP * WARPS, PARAMETERS, (table, ids, y, d, bound, live))
