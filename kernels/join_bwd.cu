// Backward through joining: the gradient of each question, the sum over its passages' pairs in order, and of each passage.
//
// A block has ROWS rows of one question, or of one passage, and finds out by itself where the pairs begin.
#include "element.cuh"

constexpr uint32_t WARPS = 8;
constexpr uint32_t THREADS = WARP * WARPS;
constexpr uint32_t ROWS = 32;

// Question b owns the passages groups[b] .. groups[b + 1].
struct Joined {
    const uint32_t *questions, *passages, *groups;
    uint32_t asked;

    __device__ uint32_t rows_of(uint32_t b) const { return questions[b + 1] - questions[b]; }
};

// Adds up `count` rows that are `apart[i]` from the first, and writes them once.
template <int N, class T, class Row>
__device__ __forceinline__ void sum_of_rows(T* __restrict__ to, Row from, uint32_t count, uint32_t d) {
    for (uint32_t i = threadIdx.x % WARP; i < d / N; i += WARP) {
        Pack<N> sum = {};
#pragma unroll 4
        for (uint32_t passage = 0; passage < count; passage++) {
            const Pack<N> more = load<N>(from(passage), i);
#pragma unroll
            for (int n = 0; n < N; n++) sum[n] += more[n];
        }
        store<N>(to, i, sum);
    }
}

// Blocks of the questions come first, `question_chunks` for each, and then those of the passages.
template <class T>
__device__ void join_bwd(const T* __restrict__ dy, const Joined& of, T* __restrict__ dquestion, T* __restrict__ dpassage,
                         uint32_t d, uint32_t question_chunks, uint32_t passage_chunks) {
    __shared__ uint32_t partial[2][WARPS];
    const uint32_t of_questions = of.asked * question_chunks;
    const bool is_question = blockIdx.x < of_questions;
    const uint32_t number = is_question ? blockIdx.x : blockIdx.x - of_questions;
    const uint32_t chunks = is_question ? question_chunks : passage_chunks;
    const uint32_t chunk = number % chunks, place = number / chunks;
    // Of a question, the first of its passages.
    const uint32_t passage = is_question ? of.groups[place] : place;
    // Questions whose passages all come before that one, and the rows that those repeat.
    uint32_t before = 0, repeated = 0;
    for (uint32_t b = threadIdx.x; b < of.asked; b += THREADS) {
        const uint32_t first = of.groups[b], end = of.groups[b + 1];
        before += end <= passage;
        repeated += of.rows_of(b) * (min(end, passage) - min(first, passage));
    }
    const uint32_t own = block_sum(before, partial[0]), question = is_question ? place : own;
    const uint32_t start = block_sum(repeated, partial[1]) + of.passages[passage], head = of.rows_of(question);
    const uint32_t rows = is_question ? head : of.passages[passage + 1] - of.passages[passage];
    const uint32_t end = min(rows, (chunk + 1) * ROWS);
    for (uint32_t row = chunk * ROWS + threadIdx.x / WARP; row < end; row += WARPS) {
        if (!is_question) {
            copy_row(dpassage + (size_t)(of.passages[passage] + row) * d, dy + (size_t)(start + head + row) * d, d);
            continue;
        }
        const auto from = [&](uint32_t i) {
            const uint32_t told = of.passages[passage + i] - of.passages[passage];
            return dy + (size_t)(start + i * head + told + row) * d;
        };
        T* to = dquestion + (size_t)(of.questions[question] + row) * d;
        const uint32_t count = of.groups[question + 1] - passage;
        if (is_packed<T>(d)) {
            sum_of_rows<PACK<T>>(to, from, count, d);
        } else {
            sum_of_rows<1>(to, from, count, d);
        }
    }
}

#define PARAMETERS(T)                                                                                                  \
    (const T* dy, const uint32_t* question_rows, const uint32_t* passage_rows, const uint32_t* groups, T* dquestion,   \
     T* dpassage, uint32_t d, uint32_t asked, uint32_t question_chunks, uint32_t passage_chunks)
KERNEL_OF_ELEMENTS(join_bwd, THREADS, PARAMETERS,
                   (dy, Joined{question_rows, passage_rows, groups, asked}, dquestion, dpassage, d, question_chunks,
                    passage_chunks))
