// Grids that wait for themselves, by CUDA's own means.

#include <cooperative_groups.h>

// Every round takes the sum of both neighbours' values of the round before.
extern "C" __global__ void neighbours(const int* from, int* to, int rounds) {
    const auto grid = cooperative_groups::this_grid();
    const int n = gridDim.x * blockDim.x, i = grid.thread_rank();
    int* now = (int*)from;
    for (int round = 0; round < rounds; ++round) {
        to[i] = now[(i + 1) % n] + now[(i + n - 1) % n];
        int* const next = to;
        to = now;
        now = next;
        grid.sync();
    }
}
