// Dropout's masks. They are a function of a seed and a place, as src/backend/dropout.rs has it, so that every machine
// draws the same ones, and the backward pass draws them again.
#pragma once

#include "element.cuh"

// SplitMix64's output for a state.
__device__ __forceinline__ uint64_t split_mix(uint64_t state) {
    uint64_t z = state + 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

// Which elements of a matrix are kept, and what those are multiplied by. With a threshold of 0, all are.
struct Mask {
    uint64_t stream;
    uint32_t threshold;
    float scale;

    // 16 bits for each of the columns 4·quad .. 4·quad + 4 of a row.
    __device__ __forceinline__ uint64_t word(uint32_t row, uint32_t quad) const {
        return split_mix(stream ^ ((uint64_t)row << 32 | quad));
    }

    // What an element is multiplied by: `bits` are its own of the word, and whatever is above them.
    __device__ __forceinline__ float factor(uint32_t bits) const { return (bits & 0xffff) >= threshold ? scale : 0.0f; }
};
