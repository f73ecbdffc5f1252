// The m highest scores of each group, best first. A block a group: a segment's place among the chosen is the number of
// segments that come before it.
#include "element.cuh"

constexpr uint32_t THREADS = 128;
constexpr uint32_t TILE = 1024;  // scores that are compared with at a time

// NaN is below everything else; equals are equal.
__device__ __forceinline__ bool higher(float a, float b) { return a > b || (b != b && a == a); }

// scores [s], groups [count + 1] → index, and which of the chosen belong to which group, kept [count + 1].
extern "C" __global__ void __launch_bounds__(THREADS)
    top_m(const float* __restrict__ scores, const uint32_t* __restrict__ groups, uint32_t* __restrict__ index,
          uint32_t* __restrict__ kept, uint32_t m, uint32_t count) {
    __shared__ uint32_t partial[THREADS / WARP];
    __shared__ float tile[TILE];
    const uint32_t group = blockIdx.x;
    const auto chosen = [&](uint32_t g) { return min(m, groups[g + 1] - groups[g]); };
    uint32_t before = 0;
    for (uint32_t g = threadIdx.x; g < group; g += THREADS) before += chosen(g);
    const uint32_t start = block_sum(before, partial);
    const bool is_group = group < count;
    if (threadIdx.x == 0) {
        kept[group] = start;
        if (group + 1 == count) kept[count] = start + chosen(group);
    }
    if (!is_group) return;
    const uint32_t first = groups[group], end = groups[group + 1];
    for (uint32_t own = first; own < end; own += THREADS) {
        const uint32_t i = own + threadIdx.x;
        const float score = i < end ? scores[i] : 0.0f;
        uint32_t rank = 0;
        for (uint32_t behind = first; behind < end; behind += TILE) {
            const uint32_t there = min(TILE, end - behind);
            __syncthreads();
            for (uint32_t j = threadIdx.x; j < there; j += THREADS) tile[j] = scores[behind + j];
            __syncthreads();
            for (uint32_t j = 0; j < there; j++) {
                // The earlier of equals comes first.
                rank += behind + j < i ? !higher(score, tile[j]) : higher(tile[j], score);
            }
        }
        if (i < end && rank < m) index[start + rank] = i;
    }
}
