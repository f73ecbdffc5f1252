// Attention of one row a sequence: of the newest token to a cache, and of one row to many encoded ones. It is bound by
// reading the keys and values, and so reads them once, heads of 64 by 16 bytes a thread, with all reads of a round under
// way at once.
//
// A block has 256 keys of one head, a warp 32 of them. Where a sequence has more, its blocks leave what they found in
// memory, and the last to arrive puts it together: always in the same order, so that nothing depends on who was last.
#include "attention.cuh"

constexpr uint32_t WARPS = 8;
constexpr uint32_t THREADS = WARPS * WARP;
constexpr uint32_t WARP_KEYS = WARP;
constexpr uint32_t KEYS = WARPS * WARP_KEYS;
constexpr uint32_t BLOCKS = 2;  // of a multiprocessor: registers for all the reads under way

// N numbers as they lie in memory.
template <class T, int N> struct Raw {
    uint4 bits;

    __device__ __forceinline__ void read(const T* row, uint32_t pack) {
        bits = reinterpret_cast<const uint4*>(row)[pack];
    }
    __device__ __forceinline__ Pack<N> widened() const { return unpack(bits, T{}); }
};
template <class T> struct Raw<T, 1> {
    T number;

    __device__ __forceinline__ void read(const T* row, uint32_t pack) { number = row[pack]; }
    __device__ __forceinline__ Pack<1> widened() const { return {{widen(number)}}; }
};

// A row of one head among a team of lanes, each with PACKS packs of N numbers. A warp has a row for each of its teams.
template <class T_, uint32_t TEAM_, int N, uint32_t PACKS> struct Slice {
    using T = T_;
    static constexpr uint32_t TEAM = TEAM_, TEAMS = WARP / TEAM, OWN = N * PACKS, WIDTH = TEAM * OWN;
    // Keys, and values, that a thread reads at once.
    static constexpr uint32_t READS = 8 / PACKS;

    // As it lies in memory. Zeros where there is no row, and beyond its width.
    struct Read {
        Raw<T, N> packs[PACKS];

        Read() = default;
        __device__ __forceinline__ Read(const T* row, uint32_t width, bool there) {
#pragma unroll
            for (uint32_t i = 0; i < PACKS; i++) {
                const uint32_t pack = i * TEAM + threadIdx.x % TEAM;
                packs[i] = {};
                if (there && pack * N < width) packs[i].read(row, pack);
            }
        }
    };

    float x[OWN];

    // x += weight · row
    __device__ __forceinline__ void add(float weight, const Read& row) {
#pragma unroll
        for (uint32_t i = 0; i < PACKS; i++) {
            const Pack<N> p = row.packs[i].widened();
#pragma unroll
            for (int j = 0; j < N; j++) x[i * N + j] = fmaf(weight, p[j], x[i * N + j]);
        }
    }

    // The inner product, to the whole team.
    __device__ __forceinline__ float dot(const Read& row) const {
        float sum = 0;
#pragma unroll
        for (uint32_t i = 0; i < PACKS; i++) {
            const Pack<N> p = row.packs[i].widened();
#pragma unroll
            for (int j = 0; j < N; j++) sum = fmaf(x[i * N + j], p[j], sum);
        }
#pragma unroll
        for (uint32_t apart = 1; apart < TEAM; apart *= 2) sum += __shfl_xor_sync(ALL_LANES, sum, apart);
        return sum;
    }

    // Adds up the teams' rows. Each team ends up with a part of the columns, in the first places of `x`.
    __device__ __forceinline__ void sum_of_teams() {
        uint32_t count = OWN;
#pragma unroll
        for (uint32_t apart = TEAM; apart < WARP; apart *= 2) {
            count /= 2;
#pragma unroll
            for (uint32_t i = 0; i < count; i++) {
                const float kept = keeps_upper(apart) ? x[i + count] : x[i];
                const float given = keeps_upper(apart) ? x[i] : x[i + count];
                x[i] = kept + __shfl_xor_sync(ALL_LANES, given, apart);
            }
        }
    }

    // Which half of its columns a lane keeps when it exchanges with the one that is so far apart. In the last exchange
    // half of a team does as the other team: then the columns of 16 lanes lie in 32 banks.
    __device__ __forceinline__ static bool keeps_upper(uint32_t apart) {
        const uint32_t swapped = apart * 2 == WARP ? TEAM / 2 : 0;
        return bool(threadIdx.x & apart) != bool(threadIdx.x & swapped);
    }

    // Writes what `sum_of_teams` left.
    __device__ __forceinline__ void leave(float* to, uint32_t width) const {
        const uint32_t lane = threadIdx.x % WARP;
        if constexpr (TEAMS == 1) {
            static_assert(N == 1, "a number a lane");
            for (uint32_t i = 0; i < OWN; i++) {
                if (i * WARP + lane < width) to[i * WARP + lane] = x[i];
            }
        } else {
            static_assert(OWN == 2 * TEAMS && PACKS == 1, "two numbers of the pack are left");
            uint32_t column = lane % TEAM * N, part = OWN;
#pragma unroll
            for (uint32_t apart = TEAM; apart < WARP; apart *= 2) {
                part /= 2;
                if (keeps_upper(apart)) column += part;
            }
            reinterpret_cast<float2*>(to)[column / 2] = make_float2(x[0], x[1]);
        }
    }
};

// Over the teams of a warp, of a number that each agrees on.
template <uint32_t TEAM> __device__ __forceinline__ float max_of_teams(float x) {
#pragma unroll
    for (uint32_t apart = TEAM; apart < WARP; apart *= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, apart));
    return x;
}
template <uint32_t TEAM> __device__ __forceinline__ float sum_of_teams(float x) {
#pragma unroll
    for (uint32_t apart = TEAM; apart < WARP; apart *= 2) x += __shfl_xor_sync(ALL_LANES, x, apart);
    return x;
}

// A row of queries and the keys that it attends to, from its head on. Key and value of the last one are elsewhere where
// they have yet to join a cache.
template <class T> struct Row {
    const T* q;
    T *k, *v, *o;
    const T *newest_k, *newest_v;
    uint32_t keys, stride, width;

    __device__ __forceinline__ bool is_newest(uint32_t key) const { return newest_k != nullptr && key == keys - 1; }
    __device__ __forceinline__ const T* key(uint32_t i) const {
        return is_newest(i) ? newest_k : k + (size_t)i * stride;
    }
    __device__ __forceinline__ const T* value(uint32_t i) const {
        return is_newest(i) ? newest_v : v + (size_t)i * stride;
    }

    // By a whole block. Nobody reads there before the next launch.
    __device__ __forceinline__ void join_the_cache() const {
        const size_t place = (size_t)(keys - 1) * stride;
        for (uint32_t col = threadIdx.x; col < 2 * width; col += THREADS) {
            const bool is_key = col < width;
            const uint32_t i = is_key ? col : col - width;
            (is_key ? k : v)[place + i] = (is_key ? newest_k : newest_v)[i];
        }
    }
};

// Softmaxes over some keys each, not divided by their masses yet: the values' weighted sums, the peaks, the masses.
struct Parts {
    float* values;  // [parts, width]
    float* peak;
    float* mass;
};

// Leaves the softmax over the warp's keys, which begin at `first`, as part `place`.
template <class S, class T>
__device__ __forceinline__ void attend(const Row<T>& row, const Bias<T>& bias, uint32_t first, const Parts& parts,
                                       uint32_t place) {
    constexpr uint32_t TEAM = S::TEAM, READS = S::READS;
    const uint32_t lane = threadIdx.x % WARP;
    S q = {}, values = {};
    q.add(1.0f, {row.q, row.width, first < row.keys});
    float peak = MINUS_INFINITY, mass = 0, own_bias = 0;
    if (bias.table != nullptr && first + lane < row.keys) {
        own_bias = bias.of_bucket(bias.bucket_of((int)(first + lane) - (int)(row.keys - 1)));
    }
#pragma unroll 1
    for (uint32_t done = 0; done < WARP_KEYS && first + done < row.keys; done += READS * S::TEAMS) {
        typename S::Read k[READS], v[READS];
        float x[READS];
        const auto key = [&](uint32_t i) { return done + i * S::TEAMS + lane / TEAM; };
#pragma unroll
        for (uint32_t i = 0; i < READS; i++) {
            const bool there = first + key(i) < row.keys;
            k[i] = {row.key(first + key(i)), row.width, there};
            v[i] = {row.value(first + key(i)), row.width, there};
        }
        float highest = peak;
#pragma unroll
        for (uint32_t i = 0; i < READS; i++) {
            x[i] = fmaf(q.dot(k[i]), LOG2_E, __shfl_sync(ALL_LANES, own_bias, key(i)));
            if (first + key(i) >= row.keys) x[i] = MINUS_INFINITY;
            highest = fmaxf(highest, x[i]);
        }
        highest = max_of_teams<TEAM>(highest);
        const float shrink = power_of_two(peak - highest);
        peak = highest;
        mass *= shrink;
#pragma unroll
        for (float& value : values.x) value *= shrink;
#pragma unroll
        for (uint32_t i = 0; i < READS; i++) {
            const float weight = power_of_two(x[i] - peak);
            mass += weight;
            values.add(weight, v[i]);
        }
    }
    values.sum_of_teams();
    mass = sum_of_teams<TEAM>(mass);
    values.leave(parts.values + place * S::WIDTH, row.width);
    if (lane == 0) {
        parts.peak[place] = peak;
        parts.mass[place] = mass;
    }
}

// Column `col` of the softmax over the warps' parts.
template <uint32_t WIDTH> struct United {
    float value = 0, peak = MINUS_INFINITY, mass = 0;

    __device__ __forceinline__ United(const Parts& parts, uint32_t col) {
#pragma unroll
        for (uint32_t i = 0; i < WARPS; i++) peak = fmaxf(peak, parts.peak[i]);
#pragma unroll
        for (uint32_t i = 0; i < WARPS; i++) {
            const float share = power_of_two(parts.peak[i] - peak);
            mass = fmaf(parts.mass[i], share, mass);
            value = fmaf(parts.values[i * WIDTH + col], share, value);
        }
    }
};

// The mean of column `col` over the parts that other blocks left: past the first-level cache, which may have an older
// copy of them. A warp's columns are neighbours, and a lane finds out what some of the parts weigh.
__device__ __forceinline__ float mean(const Parts& parts, uint32_t count, uint32_t width, uint32_t col) {
    const uint32_t lane = threadIdx.x % WARP;
    float peak = MINUS_INFINITY, mass = 0, value = 0;
    for (uint32_t i = lane; i < count; i += WARP) peak = fmaxf(peak, __ldcg(parts.peak + i));
    peak = warp_max(peak);
    for (uint32_t first = 0; first < count; first += WARP) {
        const uint32_t own = first + lane;
        const float own_share = own < count ? power_of_two(__ldcg(parts.peak + own) - peak) : 0;
        mass += own < count ? own_share * __ldcg(parts.mass + own) : 0;
        const uint32_t end = min(WARP, count - first);
#pragma unroll 4
        for (uint32_t i = 0; i < end; i++) {
            const float share = __shfl_sync(ALL_LANES, own_share, i);
            if (col < width) value = fmaf(__ldcg(parts.values + (size_t)(first + i) * width + col), share, value);
        }
    }
    return value * reciprocal(warp_sum(mass));
}

// Whether the calling block is the last of `count` that come here, and sees what all of them wrote before. The counter
// ends as it begins, at 0.
__device__ __forceinline__ bool is_last(uint32_t* arrived, uint32_t count) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) last = atomicInc(arrived, count - 1) == count - 1;
    __syncthreads();
    __threadfence();
    return last;
}

// Keys of each sequence with the newest one; `len` is those that are in the cache. Every block asks, and the last of them
// counts the newest in. `asked` ends as it begins, at 0.
__device__ __forceinline__ uint32_t keys_with_newest(uint32_t* len, uint32_t capacity, uint32_t* asked) {
    const uint32_t place = min(*len, capacity - 1);
    __syncthreads();
    if (threadIdx.x == 0) {
        const uint32_t blocks = gridDim.x * gridDim.y * gridDim.z;
        __threadfence();
        if (atomicInc(asked, blocks - 1) == blocks - 1) {
            __threadfence();
            *len = place + 1;
        }
    }
    return place + 1;
}

// Block (x, y, z) has the x-th part of the keys of head y of sequence z. `found` has room for a part for each block,
// and `arrived` is a 0 for each head of each sequence.
template <class S, class T>
__device__ __forceinline__ void decode(const Row<T>& row, const Bias<T>& bias, float* found, uint32_t* arrived) {
    __shared__ __align__(16) float shared[WARPS * (S::WIDTH + 2)];
    const uint32_t warp = threadIdx.x / WARP, width = row.width, blocks = (row.keys + KEYS - 1) / KEYS;
    if (blockIdx.x >= max(blocks, 1)) return;
    if (row.keys == 0) {
        for (uint32_t col = threadIdx.x; col < width; col += THREADS) row.o[col] = narrow<T>(0.0f);
        return;
    }
    const Parts warps = {shared, shared + WARPS * S::WIDTH, shared + WARPS * (S::WIDTH + 1)};
    if (row.newest_k != nullptr && blockIdx.x == blocks - 1) row.join_the_cache();
    attend<S>(row, bias, blockIdx.x * KEYS + warp * WARP_KEYS, warps, warp);
    __syncthreads();

    // The values of all parts come first, so that each part's begin a sector.
    const size_t number = (size_t)blockIdx.z * gridDim.y + blockIdx.y, all = (size_t)gridDim.x * gridDim.y * gridDim.z;
    float* const peaks = found + all * width + number * gridDim.x;
    const Parts parts = {found + number * gridDim.x * width, peaks, peaks + all};
    for (uint32_t col = threadIdx.x; col < width; col += THREADS) {
        const United<S::WIDTH> block(warps, col);
        if (blocks == 1) {
            row.o[col] = narrow<T>(block.value * reciprocal(block.mass));
            continue;
        }
        parts.values[blockIdx.x * width + col] = block.value;
        if (col == 0) {
            parts.peak[blockIdx.x] = block.peak;
            parts.mass[blockIdx.x] = block.mass;
        }
    }
    if (blocks == 1 || !is_last(arrived + number, blocks)) return;
    for (uint32_t first = warp * WARP; first < width; first += THREADS) {
        const uint32_t col = first + threadIdx.x % WARP;
        const float value = mean(parts, blocks, width, col);
        if (col < width) row.o[col] = narrow<T>(value);
    }
}

// q, o [n, h·e], k, v [n', h·e]: the one row of segment z, where it has one, to the keys of segment z. Without `rows`
// and `cols`, k and v are a cache, and `newest_k`, `newest_v` [n, h·e] join it: row z attends to the `len` of sequence z's
// `capacity` keys that are there, and to its own. `arrived` is a 0 for each head of each sequence, and one more.
#define PARAMETERS(T)                                                                                                  \
    (const T* __restrict__ q, T* k, T* v, T* __restrict__ o, const uint32_t* rows, const uint32_t* cols,               \
     const T* __restrict__ newest_k, const T* __restrict__ newest_v, uint32_t* len, uint32_t capacity,                 \
     const T* __restrict__ table, const uint16_t* __restrict__ bucket, uint32_t buckets, uint32_t reach,               \
     uint32_t width, float* found, uint32_t* arrived)

#define DECODE(T, NAME, ...)                                                                                           \
    extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) decode_attention_##NAME PARAMETERS(T) {              \
        Span query = {blockIdx.z, 1}, keys = {blockIdx.z * capacity, 0};                                               \
        const bool of_cache = rows == nullptr;                                                                         \
        if (of_cache) keys.count = keys_with_newest(len, capacity, arrived + gridDim.y * gridDim.z);                   \
        else query = segment(rows, blockIdx.z), keys = segment(cols, blockIdx.z);                                      \
        if (query.count == 0) return;                                                                                  \
        const uint32_t stride = gridDim.y * width, head = blockIdx.y * width;                                          \
        const size_t place = (size_t)query.first * stride + head, from = (size_t)keys.first * stride + head;           \
        const T* const own_k = of_cache ? newest_k + place : nullptr;                                                  \
        const T* const own_v = of_cache ? newest_v + place : nullptr;                                                  \
        decode<__VA_ARGS__>(Row<T>{q + place, k + from, v + from, o + place, own_k, own_v, keys.count, stride, width}, \
                            Bias<T>{table, bucket, buckets, reach, gridDim.y, blockIdx.y}, found, arrived);            \
    }

// For heads of 64.
DECODE(float, 64_f32, Slice<float, 16, 4, 1>)
DECODE(bf16, 64_bf16, Slice<bf16, 8, 8, 1>)
// For heads of up to 32, 128 and 256, a number at a time.
DECODE(float, plain32_f32, Slice<float, WARP, 1, 1>)
DECODE(bf16, plain32_bf16, Slice<bf16, WARP, 1, 1>)
DECODE(float, plain128_f32, Slice<float, WARP, 1, 4>)
DECODE(bf16, plain128_bf16, Slice<bf16, WARP, 1, 4>)
DECODE(float, plain256_f32, Slice<float, WARP, 1, 8>)
DECODE(bf16, plain256_bf16, Slice<bf16, WARP, 1, 8>)
