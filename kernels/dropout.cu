// x = mask ⊙ x · scale. A thread has the columns of one random word.
#include "flat.cuh"
#include "mask.cuh"
#include "quad.cuh"

template <class T>
__device__ void dropout(T* x, const Mask& mask, uint32_t cols, uint32_t bound, const uint32_t* live) {
    const uint32_t quads = (cols + 3) / 4;
    const uint32_t place = blockIdx.x * FLAT_THREADS + threadIdx.x;
    const uint32_t row = place / quads, quad = place % quads;
    if (row >= true_rows(bound, live)) return;
    T* own = x + (size_t)row * cols;
    const uint64_t word = mask.word(row, quad);
    if (cols % 4 == 0) {
        Pack<4> p = load_quad<4>(own, quad);
#pragma unroll
        for (int i = 0; i < 4; i++) p[i] *= mask.factor((uint32_t)(word >> 16 * i));
        store_quad<4>(own, quad, p);
    } else {
        for (uint32_t i = 0; i < min(4, cols - quad * 4); i++) {
            T& to = own[quad * 4 + i];
            to = narrow<T>(widen(to) * mask.factor((uint32_t)(word >> 16 * i)));
        }
    }
}

#define PARAMETERS(T)                                                                                                  \
    (T* x, uint64_t stream, uint32_t threshold, float scale, uint32_t cols, uint32_t bound, const uint32_t* live)
KERNEL_OF_ELEMENTS(dropout, FLAT_THREADS, PARAMETERS, (x, Mask{stream, threshold, scale}, cols, bound, live))
