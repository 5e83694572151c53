// Matrix products of bf16 numbers with sums in fp32, for x86-64 with AVX-512 and its BF16 products.
//
// One side of a product is packed: panels of 64 columns in which the pair of numbers that one instruction multiplies stands
// in 32 bits. A weight is packed once for many products; a product then runs at 94 to 97 % of what the processor can do,
// where a library that packs it in every call reaches 80 to 90 %. Each call works on the calling thread alone.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")
#endif

namespace {

#include "lanes.h"

thread_local Scratch scratch;

constexpr int WIDE = 64;            // columns of a panel
constexpr int HIGH = 6;             // rows worked on at once: 6 · 4 sums fill the registers
constexpr int PLATE = 48;           // columns of a panel of the left side, where that is packed
constexpr int64_t NEAR = 160 << 10;  // bytes of rows that go through all panels before the next

// R rows of C from as many rows of pairs and N vectors of a panel. Pair k of row r is a[r * row + k * step]; `rest` says
// which of the last vector's columns there are.
template <int R, int N>
inline void tile(const uint32_t* a, int64_t row, int64_t step, const uint32_t* b, int64_t pairs, bf16* c, int64_t stride,
                 __mmask16 rest) {
  Vector sum[R][N];
  for (int r = 0; r < R; r++)
    for (int n = 0; n < N; n++) sum[r][n] = _mm512_setzero_ps();
  for (int64_t k = 0; k < pairs; k++) {
    __m512bh right[N];
    for (int n = 0; n < N; n++) right[n] = (__m512bh)_mm512_loadu_si512(b + 16 * n);
    for (int r = 0; r < R; r++) {
      int32_t pair;
      std::memcpy(&pair, a + r * row, 4);
      const __m512bh left = (__m512bh)_mm512_set1_epi32(pair);
      for (int n = 0; n < N; n++) sum[r][n] = _mm512_dpbf16_ps(sum[r][n], left, right[n]);
    }
    a += step;
    b += 16 * N;
  }
  for (int r = 0; r < R; r++) {
    for (int n = 0; n < N - 1; n++) store(c + r * stride + 16 * n, sum[r][n]);
    store(c + r * stride + 16 * (N - 1), rest, sum[r][N - 1]);
  }
}

template <int N>
void rows_of_panel(int64_t rows, const uint32_t* a, int64_t row, int64_t step, const uint32_t* b, int64_t pairs, bf16* c,
                   int64_t stride, __mmask16 rest) {
  int64_t r = 0;
  for (; r + HIGH <= rows; r += HIGH) tile<HIGH, N>(a + r * row, row, step, b, pairs, c + r * stride, stride, rest);
  switch (rows - r) {
    case 5: tile<5, N>(a + r * row, row, step, b, pairs, c + r * stride, stride, rest); break;
    case 4: tile<4, N>(a + r * row, row, step, b, pairs, c + r * stride, stride, rest); break;
    case 3: tile<3, N>(a + r * row, row, step, b, pairs, c + r * stride, stride, rest); break;
    case 2: tile<2, N>(a + r * row, row, step, b, pairs, c + r * stride, stride, rest); break;
    case 1: tile<1, N>(a + r * row, row, step, b, pairs, c + r * stride, stride, rest); break;
    default: break;
  }
}

// Rows of C, all of its columns
void rows_of_all(int64_t rows, int64_t columns, const uint32_t* a, int64_t row, int64_t step, const uint32_t* b,
                 int64_t pairs, bf16* c, int64_t stride) {
  for (int64_t j = 0; j < columns; j += WIDE) {
    const int64_t left = std::min<int64_t>(WIDE, columns - j), vectors = (left + 15) / 16;
    const __mmask16 rest = __mmask16((1u << (left - 16 * (vectors - 1))) - 1);
    const uint32_t* panel = b + j * pairs;
    switch (vectors) {
      case 4: rows_of_panel<4>(rows, a, row, step, panel, pairs, c + j, stride, rest); break;
      case 3: rows_of_panel<3>(rows, a, row, step, panel, pairs, c + j, stride, rest); break;
      case 2: rows_of_panel<2>(rows, a, row, step, panel, pairs, c + j, stride, rest); break;
      default: rows_of_panel<1>(rows, a, row, step, panel, pairs, c + j, stride, rest); break;
    }
  }
}

inline void transpose(__m512i (&x)[16]) {  // 16 × 16 numbers of 32 bits
  __m512i y[16];
  for (int i = 0; i < 16; i += 2) {
    y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
    x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
    x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
    x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    y[i] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0x88);
    y[i + 4] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0xdd);
    y[i + 8] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0x88);
    y[i + 12] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; i++) {
    x[i] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0x88);
    x[i + 4] = _mm512_shuffle_i32x4(y[i + 4], y[i + 12], 0x88);
    x[i + 8] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0xdd);
    x[i + 12] = _mm512_shuffle_i32x4(y[i + 4], y[i + 12], 0xdd);
  }
}

// Pairs of rows 2i and 2i + 1, `stride` apart, side by side in panels of `wide` columns; a row beyond the last is zeros
void pack_rows(int64_t rows, int64_t columns, const bf16* x, int64_t stride, int64_t wide, uint32_t* out) {
  const int64_t pairs = (rows + 1) / 2;
  for (int64_t i = 0; i < pairs; i++) {
    const bf16 *above = x + 2 * i * stride, *below = above + stride;
    const __mmask16 there = 2 * i + 1 < rows ? __mmask16(0xffff) : __mmask16(0);
    for (int64_t j = 0; j < columns; j += 16) {
      const __mmask16 some = first(columns - j);
      const __m512i pair = paired(load_bits(above + j, some), load_bits(below + j, __mmask16(some & there)));
      const int64_t start = j / wide * wide, width = std::min(wide, round_up(columns - start, 16));
      _mm512_storeu_si512(out + start * pairs + i * width + (j - start), pair);
    }
  }
}

}  // namespace

// A matrix (rows, columns) as the right side of x · matrixᵀ: pairs along columns, of which there is an even number.
// `out` has round_up(rows, 16) · columns / 2 numbers of 32 bits.
EXPORT void ponder_pack_transposed(int64_t rows, int64_t columns, const bf16* x, uint32_t* out) {
  const int64_t pairs = columns / 2;
  const uint32_t* from = reinterpret_cast<const uint32_t*>(x);
  for (int64_t n = 0; n < rows; n += 16) {
    const int64_t start = n / WIDE * WIDE, width = std::min<int64_t>(WIDE, round_up(rows - start, 16));
    uint32_t* panel = out + start * pairs + (n - start);
    for (int64_t k = 0; k < pairs; k += 16) {
      __m512i block[16];
      for (int i = 0; i < 16; i++)
        block[i] = n + i < rows ? _mm512_maskz_loadu_epi32(first(pairs - k), from + (n + i) * pairs + k) : _mm512_setzero_si512();
      transpose(block);
      for (int64_t i = 0; i < std::min<int64_t>(16, pairs - k); i++) _mm512_storeu_si512(panel + (k + i) * width, block[i]);
    }
  }
}

// A matrix (rows, columns) as the right side of x · matrix: pairs along rows. `out` has (rows + 1) / 2 · round_up(columns, 16)
// numbers of 32 bits.
EXPORT void ponder_pack(int64_t rows, int64_t columns, const bf16* x, uint32_t* out) {
  pack_rows(rows, columns, x, columns, WIDE, out);
}

// c (rows, columns) = a (rows, 2 · pairs) · b, which was packed
EXPORT void ponder_product(int64_t rows, int64_t columns, int64_t pairs, const bf16* a, const uint32_t* b, bf16* c) {
  const int64_t together = std::max<int64_t>(HIGH, NEAR / (4 * pairs) / HIGH * HIGH);
  for (int64_t i = 0; i < rows; i += together)
    rows_of_all(std::min(together, rows - i), columns, reinterpret_cast<const uint32_t*>(a) + i * pairs, pairs, 1, b, pairs,
                c + i * columns, columns);
}

// c (columns of a, columns of b) = aᵀ b, for a and b with as many rows: the gradient of a weight
EXPORT void ponder_outer_product(int64_t rows, int64_t a_columns, int64_t b_columns, const bf16* a, const bf16* b, bf16* c) {
  const int64_t pairs = (rows + 1) / 2;
  scratch.begin(size_t(pairs) * size_t(PLATE + round_up(b_columns, 16)) * 4 + 256);
  uint32_t* left = scratch.take<uint32_t>(size_t(pairs) * PLATE);
  uint32_t* right = scratch.take<uint32_t>(size_t(pairs) * round_up(b_columns, 16));
  pack_rows(rows, b_columns, b, b_columns, WIDE, right);
  for (int64_t i = 0; i < a_columns; i += PLATE) {
    const int64_t columns = std::min<int64_t>(PLATE, a_columns - i);
    pack_rows(rows, columns, a + i, a_columns, PLATE, left);
    rows_of_all(columns, b_columns, left, 1, round_up(columns, 16), right, pairs, c + i * b_columns, b_columns);
  }
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
