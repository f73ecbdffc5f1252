// Each group of segments seen as one. A thread an offset.
#include <cstdint>

// groups [count + 1] → merged [count + 1].
extern "C" __global__ void merge(const uint32_t* __restrict__ offsets, const uint32_t* __restrict__ groups,
                                 uint32_t* __restrict__ merged, uint32_t count) {
    const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= count) merged[i] = offsets[groups[i]];
}
