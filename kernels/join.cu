// Each question's rows, then the passage's, once for every passage of the question, and where each such pair begins.
//
// A block has ROWS rows of one passage's pair, and finds out by itself whose passage it is and where the pair begins.
#include "element.cuh"

constexpr uint32_t WARPS = 8;
constexpr uint32_t THREADS = WARP * WARPS;
constexpr uint32_t ROWS = 32;

// Question b owns the passages groups[b] .. groups[b + 1].
struct Joined {
    const uint32_t *questions, *passages, *groups;
    uint32_t asked;
};

template <class T>
__device__ void join(const T* __restrict__ question, const T* __restrict__ passage, Joined of, T* __restrict__ y,
                     uint32_t* __restrict__ joined, uint32_t d, uint32_t chunks, uint32_t count) {
    __shared__ uint32_t partial[2][WARPS];
    const uint32_t place = blockIdx.x / chunks, chunk = blockIdx.x % chunks;
    const auto asked = [&](uint32_t b) { return of.questions[b + 1] - of.questions[b]; };
    // Questions whose passages all come before this one, and the rows that those repeat.
    uint32_t questions = 0, repeated = 0;
    for (uint32_t b = threadIdx.x; b < of.asked; b += THREADS) {
        const uint32_t first = of.groups[b], end = of.groups[b + 1];
        questions += end <= place;
        repeated += asked(b) * (min(end, place) - min(first, place));
    }
    const uint32_t own = block_sum(questions, partial[0]), told = of.passages[place];
    const uint32_t start = told + block_sum(repeated, partial[1]);
    const bool is_passage = place < count;
    const uint32_t head = is_passage ? asked(own) : 0;
    const uint32_t rows = is_passage ? head + of.passages[place + 1] - told : 0;
    if (chunk == 0 && threadIdx.x == 0) {
        joined[place] = start;
        if (place + 1 == count) joined[count] = start + rows;
    }
    const uint32_t end = min(rows, (chunk + 1) * ROWS);
    for (uint32_t row = chunk * ROWS + threadIdx.x / WARP; row < end; row += WARPS) {
        const T* from = row < head ? question + (size_t)(of.questions[own] + row) * d
                                   : passage + (size_t)(told + row - head) * d;
        copy_row(y + (size_t)(start + row) * d, from, d);
    }
}

#define PARAMETERS(T)                                                                                                  \
    (const T* question, const uint32_t* question_rows, const T* passage, const uint32_t* passage_rows,                 \
     const uint32_t* groups, T* y, uint32_t* joined, uint32_t d, uint32_t asked, uint32_t chunks, uint32_t count)
KERNEL_OF_ELEMENTS(join, THREADS, PARAMETERS,
                   (question, passage, Joined{question_rows, passage_rows, groups, asked}, y, joined, d, chunks, count))
