// Compaction of the chosen segments: their rows, in the order of the choice, and where each begins.
//
// A block has ROWS rows of one chosen segment, and finds out by itself where that one begins: few segments are chosen.
#include "element.cuh"

constexpr uint32_t WARPS = 8;
constexpr uint32_t THREADS = WARP * WARPS;
constexpr uint32_t ROWS = 32;

// Of the `bound` places in `index` the first `*live` are filled; the others choose segments without rows.
template <class T>
__device__ void gather(const T* __restrict__ x, const uint32_t* __restrict__ offsets,
                       const uint32_t* __restrict__ index, T* __restrict__ y, uint32_t* __restrict__ kept, uint32_t d,
                       uint32_t chunks, uint32_t bound, const uint32_t* live) {
    __shared__ uint32_t partial[WARPS];
    const uint32_t place = blockIdx.x / chunks, chunk = blockIdx.x % chunks, count = true_rows(bound, live);
    const auto length = [&](uint32_t i) {
        if (i >= count) return 0u;
        const uint32_t segment = index[i];
        return offsets[segment + 1] - offsets[segment];
    };
    uint32_t before = 0;
    for (uint32_t i = threadIdx.x; i < min(place, count); i += THREADS) before += length(i);
    const uint32_t start = block_sum(before, partial), rows = place < bound ? length(place) : 0;
    if (chunk == 0 && threadIdx.x == 0) {
        kept[place] = start;
        if (place + 1 == bound) kept[bound] = start + rows;
    }
    if (chunk * ROWS >= rows) return;
    const uint32_t source = offsets[index[place]], end = min(rows, (chunk + 1) * ROWS);
    for (uint32_t row = chunk * ROWS + threadIdx.x / WARP; row < end; row += WARPS) {
        copy_row(y + (size_t)(start + row) * d, x + (size_t)(source + row) * d, d);
    }
}

#define PARAMETERS(T)                                                                                                  \
    (const T* x, const uint32_t* offsets, const uint32_t* index, T* y, uint32_t* kept, uint32_t d, uint32_t chunks,    \
     uint32_t bound, const uint32_t* live)
KERNEL_OF_ELEMENTS(gather, THREADS, PARAMETERS, (x, offsets, index, y, kept, d, chunks, bound, live))
