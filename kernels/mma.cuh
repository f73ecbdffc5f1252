// Tensor cores, asynchronous copies and swizzled shared memory of sm_80, as a small vocabulary of tiles.
//
// Everything is made of blocks of 16 × 16: a warp loads a `Left` and a `Right` operand of bf16 from `Tile`s in shared
// memory and multiplies them into a `Sum` of f32, which it can narrow to the left operand of the next product.
//
//     Sum c = {};
//     for (uint32_t col = 0; col < COLS; col += 16) multiply(c, x.left(row, col), w.right(out, col));  // c += x·wᵀ

#pragma once

#include "element.cuh"

__device__ __forceinline__ uint32_t lane() { return threadIdx.x % WARP; }

__device__ __forceinline__ uint32_t shared_address(const void* p) { return (uint32_t)__cvta_generic_to_shared(p); }

// ---------------------------------------------------------------------------------------------------------------------
// cp.async: from global to shared memory, past the registers

// Copies 16 bytes, of which the first `bytes` come from global memory and the rest are zeros. With 0 bytes nothing is
// read, but `from` must be a pointer all the same.
__device__ __forceinline__ void copy_async(uint32_t to, const void* from, uint32_t bytes = 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

// The same of 8 bytes.
__device__ __forceinline__ void copy_async_8(uint32_t to, const void* from, uint32_t bytes = 8) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

// Closes the group of this thread's copies since the last one.
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most the last `PENDING` groups of this thread are under way. The other threads' copies need a barrier
// besides.
template <uint32_t PENDING> __device__ __forceinline__ void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// ---------------------------------------------------------------------------------------------------------------------
// Registers

// Blocks of 16 rows of 16 terms in bf16, spread over a warp as mma.sync wants them: a lane has two neighbours of row
// `lane / 4` of each quarter of a block. Of the quarters, `Left` has r[0] r[2] and `Right` r[0] r[1].
//                                                             r[1] r[3]             r[2] r[3]
struct Left {
    uint32_t r[4];
};
struct Right {
    uint32_t r[4];
};

// A 16 × 16 block of f32, spread over a warp as mma.sync leaves it: `half[c][i]` is at
// row `lane / 4 + i / 2 * 8` and column `c * 8 + lane % 4 * 2 + i % 2`.
struct Sum {
    float half[2][4];
};

__device__ __forceinline__ uint32_t sum_row(uint32_t i) { return lane() / 4 + i / 2 * 8; }
__device__ __forceinline__ uint32_t sum_col(uint32_t i) { return lane() % 4 * 2 + i % 2; }

__device__ __forceinline__ void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b_low, uint32_t b_high) {
    // Not volatile: it is a function of its operands, and the compiler may move it between the loads.
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b_low), "r"(b_high));
}

// c += a · bᵀ
__device__ __forceinline__ void multiply(Sum& c, const Left& a, const Right& b) {
    mma_m16n8k16(c.half[0], a.r, b.r[0], b.r[1]);
    mma_m16n8k16(c.half[1], a.r, b.r[2], b.r[3]);
}

// The sum as the left operand of a further product.
__device__ __forceinline__ Left narrow(const Sum& c) {
    return {narrow_pair(c.half[0][0], c.half[0][1]), narrow_pair(c.half[0][2], c.half[0][3]),  //
            narrow_pair(c.half[1][0], c.half[1][1]), narrow_pair(c.half[1][2], c.half[1][3])};
}

// Lane `q` of four neighbours gives `r[j]` to lane `j` as its `r[q]`. Of a `Left`, where four neighbours hold a row of every
// quarter in pairs, each gets a row of one quarter: eight numbers side by side, which is what global memory likes. The
// row is `piece_row()` and the first column `piece_col()`. Once more, and everything is as it was.
__device__ __forceinline__ void transpose_quad(uint32_t (&r)[4]) {
    for (uint32_t apart = 1; apart <= 2; apart *= 2) {
        const bool upper = lane() & apart;
        for (uint32_t i = 0; i < 4; ++i) {
            if (i & apart) continue;
            uint32_t& low = r[i];
            uint32_t& high = r[i + apart];
            const uint32_t other = __shfl_xor_sync(ALL_LANES, upper ? low : high, apart);
            (upper ? low : high) = other;
        }
    }
}

__device__ __forceinline__ uint32_t piece_row() { return lane() / 4 + lane() % 2 * 8; }
__device__ __forceinline__ uint32_t piece_col() { return lane() % 4 / 2 * 8; }

// ---------------------------------------------------------------------------------------------------------------------
// Tiles in shared memory

// ldmatrix: four matrices of 8 × 8, of which each lane names a row.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], uint32_t row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
}

// Rows of `COLS` bf16 in shared memory, as many as there is room for. The 16-byte chunks of a row are permuted by the
// row's number, so that eight rows of one column of chunks lie in eight different groups of banks: neither ldmatrix nor
// a copy by rows meets a bank twice. `address` is a multiple of 128.
template <uint32_t COLS> struct Tile {
    static_assert(COLS >= 16 && (COLS & (COLS - 1)) == 0, "the permutation is of bits");
    static constexpr uint32_t CHUNKS = COLS / 8;
    static constexpr uint32_t ROW_BYTES = COLS * 2;

    uint32_t address;

    // Bytes from the tile's beginning to a chunk.
    __device__ static uint32_t place(uint32_t row, uint32_t chunk) {
        constexpr uint32_t ROWS_PER_LINE = CHUNKS < 8 ? 8 / CHUNKS : 1;
        constexpr uint32_t PERMUTED = CHUNKS < 8 ? CHUNKS : 8;
        return row * ROW_BYTES + (chunk ^ (row / ROWS_PER_LINE % PERMUTED)) * 16;
    }

    __device__ uint32_t chunk(uint32_t row, uint32_t chunk) const { return address + place(row, chunk); }

    // The 16 × 16 block from `row` and `col` on, both multiples of 16.
    __device__ Left left(uint32_t row, uint32_t col) const {
        Left f;
        load_matrices(f.r, lane_address(row, col, lane() % 16, lane() / 16));
        return f;
    }
    __device__ Right right(uint32_t row, uint32_t col) const {
        Right f;
        load_matrices(f.r, lane_address(row, col, lane() % 8 + lane() / 16 * 8, lane() / 8 % 2));
        return f;
    }
    // Its transpose: 16 columns of the tile are the rows, and 16 rows the terms.
    __device__ Left left_transposed(uint32_t row, uint32_t col) const {
        Left f;
        load_matrices_transposed(f.r, lane_address(row, col, lane() % 8 + lane() / 16 * 8, lane() / 8 % 2));
        return f;
    }
    __device__ Right right_transposed(uint32_t row, uint32_t col) const {
        Right f;
        load_matrices_transposed(f.r, lane_address(row, col, lane() % 16, lane() / 16));
        return f;
    }

   private:
    // Each lane names one row of one quarter. The permutation is the same in every block of 16 rows, and moving by 16
    // columns flips bits of the lane's own place: in an unrolled loop all of it is constants but one sum.
    __device__ uint32_t lane_address(uint32_t row, uint32_t col, uint32_t lane_row, uint32_t lane_chunk) const {
        return address + row * ROW_BYTES + (place(lane_row, lane_chunk) ^ col * 2);
    }
};
