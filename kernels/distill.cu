// The divergence of each question's two distributions over its passages, rank = softmax(score/τ) and
// lm = softmax(log p(answer)/τ), and the gradient of `scale` times their sum with respect to the scores. A warp a
// question. They are a few numbers: so everything is in 64 bits.
#include "double.cuh"

__device__ __forceinline__ double warp_max(double x) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) x = fmax(x, __shfl_xor_sync(ALL_LANES, x, step));
    return x;
}

// log softmax(x/τ) of the numbers that are seen one by one, first for their peak and then for their mass.
struct LogSoftmax {
    double temperature, peak = -INFINITY, mass = 0, log_mass = 0;

    __device__ __forceinline__ explicit LogSoftmax(double temperature) : temperature(temperature) {}
    __device__ __forceinline__ void see(double x) { peak = fmax(peak, x); }
    __device__ __forceinline__ void weigh(double x) { mass += exp((x - peak) / temperature); }
    __device__ __forceinline__ void close_peak() { peak = warp_max(peak); }
    __device__ __forceinline__ void close_mass() { log_mass = log(warp_sum(mass)); }
    __device__ __forceinline__ double of(double x) const { return (x - peak) / temperature - log_mass; }
};

// How tokens make an answer, and which distribution is fitted to which.
enum class Answer : uint32_t { SUM, MEAN };
enum class Direction : uint32_t { LM_RANK, RANK_LM };

// To every lane; the warp reads the tokens together.
__device__ __forceinline__ double log_prob_of_answer(const float* log_probs, uint32_t first, uint32_t end,
                                                     Answer answer) {
    double sum = 0;
    for (uint32_t token = first + threadIdx.x; token < end; token += WARP) sum += log_probs[token];
    sum = warp_sum(sum);
    return answer == Answer::MEAN ? sum / max(end - first, 1u) : sum;
}

// scores, dscores [s]; log_probs [n], of the tokens of the answers, whose segments `tokens` are; losses [groups].
// `answers [s]` is for the log-probabilities of the answers, which only this kernel reads.
extern "C" __global__ void __launch_bounds__(WARP)
    distill(const float* scores, const float* log_probs, const uint32_t* tokens, const uint32_t* groups, double* answers,
            float* losses, float* dscores, float temperature, float scale, Answer answer, Direction direction) {
    const uint32_t first = groups[blockIdx.x] + threadIdx.x, end = groups[blockIdx.x + 1];
    for (uint32_t i = groups[blockIdx.x]; i < end; i++) {
        const double log_prob = log_prob_of_answer(log_probs, tokens[i], tokens[i + 1], answer);
        // The lane that reads it again.
        if (i % WARP == first % WARP) answers[i] = log_prob;
    }
    LogSoftmax rank(temperature), lm(temperature);
    for (uint32_t i = first; i < end; i += WARP) {
        rank.see(scores[i]);
        lm.see(answers[i]);
    }
    rank.close_peak();
    lm.close_peak();
    for (uint32_t i = first; i < end; i += WARP) {
        rank.weigh(scores[i]);
        lm.weigh(answers[i]);
    }
    rank.close_mass();
    lm.close_mass();
    const bool of_lm = direction == Direction::LM_RANK;
    double loss = 0;
    for (uint32_t i = first; i < end; i += WARP) {
        const double r = rank.of(scores[i]), l = lm.of(answers[i]);
        loss += of_lm ? exp(l) * (l - r) : exp(r) * (r - l);
    }
    loss = warp_sum(loss);
    for (uint32_t i = first; i < end; i += WARP) {
        const double r = rank.of(scores[i]), l = lm.of(answers[i]);
        const double slope = of_lm ? exp(r) - exp(l) : exp(r) * (r - l - loss);
        dscores[i] = scale * slope / temperature;
    }
    if (threadIdx.x == 0) losses[blockIdx.x] = loss;
}
