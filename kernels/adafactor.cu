// One step of Adafactor for one parameter, as src/backend/backward.rs has it, without the host: sizes of the whole tensor
// are sums of parts, in one order, in 64 bits.
//
// A block has a tile of ROWS × 32 quads, or single numbers where rows are not made of quads; a warp has some of its rows,
// a lane a quad of each. In bf16 the parameter is the sum of `w` and of what that lacks, `rest`.
#include "double.cuh"
#include "quad.cuh"

constexpr uint32_t WARPS = 8;
constexpr uint32_t THREADS = WARPS * WARP;
constexpr uint32_t ROWS = 64;

// Added to squares of gradients.
constexpr float SQUARE_EPSILON = 1e-30f;
// Least size of a parameter, for its updates.
constexpr double LEAST_SIZE = 1e-3;

// Calls `f(Int<N>, row, quad)` for a thread's places in the block's tile.
template <int N, class F> __device__ __forceinline__ void each_of_tile(uint32_t rows, uint32_t cols, F f) {
    const uint32_t first = blockIdx.y * ROWS, end = min(first + ROWS, rows);
    const uint32_t quad = blockIdx.x * WARP + threadIdx.x % WARP;
    if (quad >= cols / N) return;
#pragma unroll 2
    for (uint32_t row = first + threadIdx.x / WARP; row < end; row += WARPS) f(row, quad);
}

__device__ __forceinline__ uint32_t number_of_tile() { return blockIdx.y * gridDim.x + blockIdx.x; }

// ---------------------------------------------------------------------------------------------------------------------
// Moments of rows and columns

// Σ g² of the tile's rows, to by_row [tiles across, rows], and of its columns, to by_col [tiles down, cols].
template <int N>
__device__ __forceinline__ void squares(const float* __restrict__ g, float* __restrict__ by_row,
                                        float* __restrict__ by_col, uint32_t rows, uint32_t cols) {
    __shared__ float sums[WARPS][WARP * N];
    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const uint32_t first = blockIdx.y * ROWS, end = min(first + ROWS, rows), quad = blockIdx.x * WARP + lane;
    const bool there = quad < cols / N;
    Pack<N> of_cols = {};
#pragma unroll 2
    for (uint32_t row = first + warp; row < end; row += WARPS) {
        Pack<N> x = {};
        if (there) x = load_quad<N>(g + (size_t)row * cols, quad);
        float of_row = 0;
#pragma unroll
        for (int n = 0; n < N; n++) {
            of_row += x[n] * x[n];
            of_cols[n] += x[n] * x[n];
        }
        of_row = warp_sum(of_row);
        if (lane == 0) by_row[(size_t)blockIdx.x * rows + row] = of_row;
    }
    store_quad<N>(sums[warp], lane, of_cols);
    __syncthreads();
    const uint32_t col = blockIdx.x * WARP * N + threadIdx.x;
    if (threadIdx.x >= WARP * N || col >= cols) return;
    float sum = 0;
    for (uint32_t other = 0; other < WARPS; other++) sum += sums[other][threadIdx.x];
    by_col[(size_t)blockIdx.y * cols + col] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    adafactor_squares(const float* g, float* by_row, float* by_col, uint32_t rows, uint32_t cols) {
    if (cols % 4 == 0) {
        squares<4>(g, by_row, by_col, rows, cols);
    } else {
        squares<1>(g, by_row, by_col, rows, cols);
    }
}

// What the step does to the second moments: β, 1 − β and what the gradient is multiplied by. (1 − β is close to 0 late in
// training, and its digits are not those of 1 − float(β).)
struct Decay {
    float keep, take, scale;
};

// moment ← β·moment + (1 − β)·mean, of 32 rows, or columns, by their parts [count, length] over `others` elements each;
// and into `totals` the sum of what they then are.
extern "C" __global__ void __launch_bounds__(THREADS)
    adafactor_moment(const float* __restrict__ parts, float* __restrict__ moment, double* __restrict__ totals,
                     uint32_t count, uint32_t length, uint32_t others, float keep, float take, float scale) {
    __shared__ double sums[WARPS][WARP];
    const uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, i = blockIdx.x * WARP + lane;
    double sum = 0;
    if (i < length) {
#pragma unroll 4
        for (uint32_t part = warp; part < count; part += WARPS) sum += parts[(size_t)part * length + i];
    }
    sums[warp][lane] = sum;
    __syncthreads();
    if (warp > 0) return;
    float updated = 0;
    if (i < length) {
        for (uint32_t other = 1; other < WARPS; other++) sum += sums[other][lane];
        const double mean = (double)scale * scale * sum / others + SQUARE_EPSILON;
        updated = (float)((double)keep * moment[i] + take * mean);
        moment[i] = updated;
    }
    const double total = warp_sum((double)updated);
    if (lane == 0) totals[blockIdx.x] = total;
}

// ---------------------------------------------------------------------------------------------------------------------
// Sizes and steps

// A parameter, element by element.
template <class T> struct Parameter {
    T* w;
    float* rest;  // none in f32
    uint32_t rows, cols;

    template <int N> __device__ __forceinline__ Pack<N> at(uint32_t row, uint32_t quad) const {
        const size_t start = (size_t)row * cols;
        Pack<N> x = load_quad<N>(w + start, quad);
        if constexpr (sizeof(T) < sizeof(float)) {
            const Pack<N> more = load_quad<N>(rest + start, quad);
#pragma unroll
            for (int n = 0; n < N; n++) x[n] += more[n];
        }
        return x;
    }

    template <int N> __device__ __forceinline__ void set(uint32_t row, uint32_t quad, Pack<N> x) const {
        const size_t start = (size_t)row * cols;
        store_quad<N>(w + start, quad, x);
        if constexpr (sizeof(T) < sizeof(float)) {
            // Exact: what rounding takes has fewer digits than the number.
#pragma unroll
            for (int n = 0; n < N; n++) x[n] -= widen(narrow<T>(x[n]));
            store_quad<N>(rest + start, quad, x);
        }
    }
};

// The second moments of a matrix by its rows and columns. A tile's own are kept in shared memory, as one over their roots.
struct Factored {
    const float *row, *col;
    float *by_row, *by_col;  // shared, [ROWS] and [32·N]

    template <int N> __device__ __forceinline__ void begin(uint32_t rows, uint32_t cols) const {
        const uint32_t i = threadIdx.x, first_row = blockIdx.y * ROWS, first_col = blockIdx.x * WARP * N;
        if (i < ROWS && first_row + i < rows) by_row[i] = rsqrtf(row[first_row + i]);
        if (i < WARP * N && first_col + i < cols) by_col[i] = rsqrtf(col[first_col + i]);
        __syncthreads();
    }
    template <int N> __device__ __forceinline__ Pack<N> divide(Pack<N> g, uint32_t row, uint32_t, uint32_t) const {
        const Pack<N> of_cols = load_quad<N>(by_col, threadIdx.x % WARP);
        const float of_row = by_row[row % ROWS];
#pragma unroll
        for (int n = 0; n < N; n++) g[n] *= of_row * of_cols[n];
        return g;
    }
};

// Of every element.
struct Whole {
    float* moment;
    Decay decay;

    template <int N> __device__ __forceinline__ void begin(uint32_t, uint32_t) const {}
    template <int N>
    __device__ __forceinline__ Pack<N> divide(Pack<N> g, uint32_t row, uint32_t quad, uint32_t cols) const {
        const Pack<N> v = load_quad<N>(moment + (size_t)row * cols, quad);
#pragma unroll
        for (int n = 0; n < N; n++) g[n] = g[n] / sqrtf(v[n]);
        return g;
    }
    template <int N>
    __device__ __forceinline__ void update(const Pack<N>& g, uint32_t row, uint32_t quad, uint32_t cols) const {
        float* const own = moment + (size_t)row * cols;
        Pack<N> v = load_quad<N>(own, quad);
#pragma unroll
        for (int n = 0; n < N; n++) v[n] = decay.keep * v[n] + decay.take * (g[n] * g[n] + SQUARE_EPSILON);
        store_quad<N>(own, quad, v);
    }
};

template <int N>
__device__ __forceinline__ Pack<N> scaled(const float* g, uint32_t row, uint32_t quad, uint32_t cols, float scale) {
    Pack<N> x = load_quad<N>(g + (size_t)row * cols, quad);
#pragma unroll
    for (int n = 0; n < N; n++) x[n] *= scale;
    return x;
}

template <int N> __device__ __forceinline__ float square_of(const Pack<N>& x) {
    float sum = 0;
#pragma unroll
    for (int n = 0; n < N; n++) sum += x[n] * x[n];
    return sum;
}

// Σ u² and Σ w² of the tile, to sizes [2, tiles]. Factored moments are those of before their mean is divided by.
template <int N, bool UPDATES, class T, class Moments>
__device__ __forceinline__ void sizes_of(const float* __restrict__ g, const Parameter<T>& w, const Moments& moments,
                                         float scale, double* __restrict__ sizes) {
    moments.template begin<N>(w.rows, w.cols);
    double of_u = 0, of_w = 0;
    each_of_tile<N>(w.rows, w.cols, [&](uint32_t row, uint32_t quad) {
        const Pack<N> x = scaled<N>(g, row, quad, w.cols, scale);
        if constexpr (UPDATES) moments.template update<N>(x, row, quad, w.cols);
        of_u += square_of<N>(moments.template divide<N>(x, row, quad, w.cols));
        of_w += square_of<N>(w.template at<N>(row, quad));
    });
    of_u = sum_of_block<WARPS>(of_u);
    __syncthreads();
    of_w = sum_of_block<WARPS>(of_w);
    if (threadIdx.x > 0) return;
    sizes[number_of_tile()] = of_u;
    sizes[gridDim.x * gridDim.y + number_of_tile()] = of_w;
}

// w ← w − rate·u
template <int N, class T, class Moments>
__device__ __forceinline__ void step_of(const float* __restrict__ g, const Parameter<T>& w, const Moments& moments,
                                        float scale, float rate) {
    moments.template begin<N>(w.rows, w.cols);
    each_of_tile<N>(w.rows, w.cols, [&](uint32_t row, uint32_t quad) {
        const Pack<N> u = moments.template divide<N>(scaled<N>(g, row, quad, w.cols, scale), row, quad, w.cols);
        Pack<N> x = w.template at<N>(row, quad);
#pragma unroll
        for (int n = 0; n < N; n++) x[n] -= rate * u[n];
        w.template set<N>(row, quad, x);
    });
}

// The rate of the step, lr·max(RMS(w), 10⁻³) / max(1, RMS(u)), by the parts of both sizes, [2, tiles]. Of factored moments,
// `totals` is given, parts of Σ r over the rows: u lacks √mean(r), and the rate makes up for it.
extern "C" __global__ void __launch_bounds__(THREADS)
    adafactor_rate(const double* __restrict__ sizes, uint32_t tiles, const double* __restrict__ totals, uint32_t count,
                   uint32_t rows, uint32_t cols, float learning_rate, float* __restrict__ rate) {
    const auto sum_of = [&](const double* parts, uint32_t length) {
        double sum = 0;
        for (uint32_t i = threadIdx.x; i < length; i += THREADS) sum += parts[i];
        sum = sum_of_block<WARPS>(sum);
        __syncthreads();
        return sum;
    };
    const double length = (double)rows * cols;
    double of_u = sum_of(sizes, tiles) / length;
    const double of_w = sum_of(sizes + tiles, tiles) / length;
    const double mean = totals == nullptr ? 1 : sum_of(totals, count) / rows;
    if (threadIdx.x > 0) return;
    *rate = (float)(learning_rate * fmax(sqrt(of_w), LEAST_SIZE) / fmax(sqrt(of_u * mean), 1.0) * sqrt(mean));
}

template <class T>
__device__ __forceinline__ void adafactor_sizes(const float* g, const Parameter<T>& w, const float* row,
                                                const float* col, float scale, double* sizes) {
    __shared__ __align__(16) float by_row[ROWS], by_col[WARP * 4];
    const Factored moments = {row, col, by_row, by_col};
    if (w.cols % 4 == 0) {
        sizes_of<4, false>(g, w, moments, scale, sizes);
    } else {
        sizes_of<1, false>(g, w, moments, scale, sizes);
    }
}

template <class T>
__device__ __forceinline__ void adafactor_step(const float* g, const Parameter<T>& w, const float* row,
                                               const float* col, float scale, const float* rate) {
    __shared__ __align__(16) float by_row[ROWS], by_col[WARP * 4];
    const Factored moments = {row, col, by_row, by_col};
    if (w.cols % 4 == 0) {
        step_of<4>(g, w, moments, scale, *rate);
    } else {
        step_of<1>(g, w, moments, scale, *rate);
    }
}

template <class T>
__device__ __forceinline__ void adafactor_whole_sizes(const float* g, const Parameter<T>& w, float* moment,
                                                      const Decay& decay, double* sizes) {
    const Whole moments = {moment, decay};
    if (w.cols % 4 == 0) {
        sizes_of<4, true>(g, w, moments, decay.scale, sizes);
    } else {
        sizes_of<1, true>(g, w, moments, decay.scale, sizes);
    }
}

template <class T>
__device__ __forceinline__ void adafactor_whole_step(const float* g, const Parameter<T>& w, float* moment, float scale,
                                                     const float* rate) {
    const Whole moments = {moment, {}};
    if (w.cols % 4 == 0) {
        step_of<4>(g, w, moments, scale, *rate);
    } else {
        step_of<1>(g, w, moments, scale, *rate);
    }
}

// g, w, rest and the moments of a whole parameter are [rows, cols]; row [rows], col [cols].
#define PARAMETER(T) const float *g, T *w, float *rest, uint32_t rows, uint32_t cols
#define SIZES(T) (PARAMETER(T), const float *row, const float *col, float scale, double *sizes)
KERNEL_OF_ELEMENTS(adafactor_sizes, THREADS, SIZES, (g, {w, rest, rows, cols}, row, col, scale, sizes))
#define STEP(T) (PARAMETER(T), const float *row, const float *col, float scale, const float *rate)
KERNEL_OF_ELEMENTS(adafactor_step, THREADS, STEP, (g, {w, rest, rows, cols}, row, col, scale, rate))
#define WHOLE_SIZES(T) (PARAMETER(T), float *moment, float keep, float take, float scale, double *sizes)
KERNEL_OF_ELEMENTS(adafactor_whole_sizes, THREADS, WHOLE_SIZES,
                   (g, {w, rest, rows, cols}, moment, {keep, take, scale}, sizes))
#define WHOLE_STEP(T) (PARAMETER(T), float *moment, float scale, const float *rate)
KERNEL_OF_ELEMENTS(adafactor_whole_step, THREADS, WHOLE_STEP, (g, {w, rest, rows, cols}, moment, scale, rate))
