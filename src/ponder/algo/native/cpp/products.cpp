// Matrix products of bf16 and of fp32 numbers with sums in fp32, for x86-64 with AVX-512 and its BF16 products.
//
// One side of a product is packed: panels of 64 columns of units, which are what one instruction multiplies, in 32 bits: a
// pair of bf16 numbers or one of fp32. A weight is packed once for many products; one of bf16 then runs at 94 to 97 % of
// what the processor can do, where a library that packs it in every call reaches 80 to 90 %. Each call works on the calling
// thread alone.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "export.h"

#if defined(__x86_64__)
#include "begin_avx512.h"

namespace {

#include "lanes.h"

thread_local Scratch scratch;

constexpr int WIDE = 64;            // columns of a panel
constexpr int HIGH = 6;             // rows worked on at once: 6 · 4 sums fill the registers
constexpr int PLATE = 48;           // columns of a panel of the left side, where that is packed
constexpr int64_t NEAR = 160 << 10;  // bytes of rows that go through all panels before the next
constexpr int64_t DEEP = 256;        // rows that a sum over many goes through before the next, where it is kept in fp32

// R rows of C from as many rows of units and N vectors of a panel. Unit k of row r is a[r * row + k * step]; `rest` says
// which of the last vector's columns there are. ADD: to what C holds, which a sum over few rows is added to at its end.
template <class Number, bool ADD, int R, int N>
inline void tile(const uint32_t* a, int64_t row, int64_t step, const uint32_t* b, int64_t units, Number* c, int64_t stride,
                 __mmask16 rest) {
  Vector sum[R][N];
  for (int r = 0; r < R; r++)
    for (int n = 0; n < N; n++) sum[r][n] = _mm512_setzero_ps();
  for (int64_t k = 0; k < units; k++) {
    for (int r = 0; r < R; r++) {
      uint32_t left;
      std::memcpy(&left, a + r * row, 4);
      for (int n = 0; n < N; n++) sum[r][n] = multiply_add<Number>(left, b + 16 * n, sum[r][n]);
    }
    a += step;
    b += 16 * N;
  }
  for (int r = 0; r < R; r++)
    for (int n = 0; n < N; n++) {
      Number* to = c + r * stride + 16 * n;
      const __mmask16 some = n < N - 1 ? __mmask16(0xffff) : rest;
      store(to, some, ADD ? _mm512_add_ps(load(to, some), sum[r][n]) : sum[r][n]);
    }
}

template <class Number, bool ADD, int N>
void rows_of_panel(int64_t rows, const uint32_t* a, int64_t row, int64_t step, const uint32_t* b, int64_t units, Number* c,
                   int64_t stride, __mmask16 rest) {
  int64_t r = 0;
  for (; r + HIGH <= rows; r += HIGH)
    tile<Number, ADD, HIGH, N>(a + r * row, row, step, b, units, c + r * stride, stride, rest);
  switch (rows - r) {
    case 5: tile<Number, ADD, 5, N>(a + r * row, row, step, b, units, c + r * stride, stride, rest); break;
    case 4: tile<Number, ADD, 4, N>(a + r * row, row, step, b, units, c + r * stride, stride, rest); break;
    case 3: tile<Number, ADD, 3, N>(a + r * row, row, step, b, units, c + r * stride, stride, rest); break;
    case 2: tile<Number, ADD, 2, N>(a + r * row, row, step, b, units, c + r * stride, stride, rest); break;
    case 1: tile<Number, ADD, 1, N>(a + r * row, row, step, b, units, c + r * stride, stride, rest); break;
    default: break;
  }
}

// Rows of C, all of its columns
template <class Number, bool ADD>
void rows_of_all(int64_t rows, int64_t columns, const uint32_t* a, int64_t row, int64_t step, const uint32_t* b,
                 int64_t units, Number* c, int64_t stride) {
  for (int64_t j = 0; j < columns; j += WIDE) {
    const int64_t left = std::min<int64_t>(WIDE, columns - j), vectors = (left + 15) / 16;
    const __mmask16 rest = first(left - 16 * (vectors - 1));
    const uint32_t* panel = b + j * units;
    switch (vectors) {
      case 4: rows_of_panel<Number, ADD, 4>(rows, a, row, step, panel, units, c + j, stride, rest); break;
      case 3: rows_of_panel<Number, ADD, 3>(rows, a, row, step, panel, units, c + j, stride, rest); break;
      case 2: rows_of_panel<Number, ADD, 2>(rows, a, row, step, panel, units, c + j, stride, rest); break;
      default: rows_of_panel<Number, ADD, 1>(rows, a, row, step, panel, units, c + j, stride, rest); break;
    }
  }
}

// Units along rows `stride` apart, side by side in panels of `wide` columns; of bf16 a row beyond the last is zeros
inline __m512i units_at(const bf16* x, int64_t stride, int64_t unit, int64_t rows, int64_t column, __mmask16 some) {
  const bf16* above = x + 2 * unit * stride + column;
  return paired(load_bits(above, some), load_bits(above + stride, 2 * unit + 1 < rows ? some : __mmask16(0)));
}
inline __m512i units_at(const float* x, int64_t stride, int64_t unit, int64_t, int64_t column, __mmask16 some) {
  return _mm512_maskz_loadu_epi32(some, x + unit * stride + column);
}
template <class Number>
void pack_rows(int64_t rows, int64_t columns, const Number* x, int64_t stride, int64_t wide, uint32_t* out) {
  const int64_t units = (rows + UNIT<Number> - 1) / UNIT<Number>;
  for (int64_t i = 0; i < units; i++)
    for (int64_t j = 0; j < columns; j += 16) {
      const int64_t start = j / wide * wide, width = std::min(wide, round_up(columns - start, 16));
      _mm512_storeu_si512(out + start * units + i * width + (j - start), units_at(x, stride, i, rows, j, first(columns - j)));
    }
}

// c (rows, columns) = a (rows, units) · b, which was packed
template <class Number>
void product(int64_t rows, int64_t columns, int64_t units, const uint32_t* a, const uint32_t* b, Number* c) {
  const int64_t together = std::max<int64_t>(HIGH, NEAR / (4 * units) / HIGH * HIGH);
  for (int64_t i = 0; i < rows; i += together)
    rows_of_all<Number, false>(std::min(together, rows - i), columns, a + i * units, units, 1, b, units, c + i * columns, columns);
}

// c (+)= aᵀ b
template <class Number, bool ADD>
void outer_product(int64_t rows, int64_t a_columns, int64_t b_columns, const Number* a, const Number* b, Number* c) {
  const int64_t units = (rows + UNIT<Number> - 1) / UNIT<Number>;
  scratch.begin(size_t(units) * size_t(PLATE + round_up(b_columns, 16)) * 4 + 256);
  uint32_t* left = scratch.take<uint32_t>(size_t(units) * PLATE);
  uint32_t* right = scratch.take<uint32_t>(size_t(units) * round_up(b_columns, 16));
  pack_rows(rows, b_columns, b, b_columns, WIDE, right);
  for (int64_t i = 0; i < a_columns; i += PLATE) {
    const int64_t columns = std::min<int64_t>(PLATE, a_columns - i);
    pack_rows(rows, columns, a + i, a_columns, PLATE, left);
    rows_of_all<Number, ADD>(columns, b_columns, left, 1, round_up(columns, 16), right, units, c + i * b_columns, b_columns);
  }
}

}  // namespace

// A matrix (rows, columns) as the right side of x · matrixᵀ: units along columns, of which there is a whole number.
// `out` has round_up(rows, 16) · units numbers of 32 bits.
EXPORT void ponder_pack_transposed(int64_t rows, int64_t units, const uint32_t* x, uint32_t* out) {
  for (int64_t n = 0; n < rows; n += 16) {
    const int64_t start = n / WIDE * WIDE, width = std::min<int64_t>(WIDE, round_up(rows - start, 16));
    uint32_t* panel = out + start * units + (n - start);
    for (int64_t k = 0; k < units; k += 16) {
      __m512i block[16];
      for (int i = 0; i < 16; i++)
        block[i] = n + i < rows ? _mm512_maskz_loadu_epi32(first(units - k), x + (n + i) * units + k) : _mm512_setzero_si512();
      transpose(block);
      for (int64_t i = 0; i < std::min<int64_t>(16, units - k); i++) _mm512_storeu_si512(panel + (k + i) * width, block[i]);
    }
  }
}

// A matrix (rows, columns) as the right side of x · matrix: units along rows. `out` has as many units, rounded up, times
// round_up(columns, 16) numbers of 32 bits.
EXPORT void ponder_pack_bf16(int64_t rows, int64_t columns, const bf16* x, uint32_t* out) {
  pack_rows(rows, columns, x, columns, WIDE, out);
}
EXPORT void ponder_pack_fp32(int64_t rows, int64_t columns, const float* x, uint32_t* out) {
  pack_rows(rows, columns, x, columns, WIDE, out);
}

// c (rows, columns) = a (rows, units) · b, which was packed
EXPORT void ponder_product_bf16(int64_t rows, int64_t columns, int64_t units, const uint32_t* a, const uint32_t* b, bf16* c) {
  product(rows, columns, units, a, b, c);
}
EXPORT void ponder_product_fp32(int64_t rows, int64_t columns, int64_t units, const uint32_t* a, const uint32_t* b, float* c) {
  product(rows, columns, units, a, b, c);
}

// c (columns of a, columns of b) = aᵀ b, for a and b with as many rows: the gradient of a weight
EXPORT void ponder_outer_product_bf16(int64_t rows, int64_t a_columns, int64_t b_columns, const bf16* a, const bf16* b, bf16* c) {
  outer_product<bf16, false>(rows, a_columns, b_columns, a, b, c);
}
EXPORT void ponder_outer_product_fp32(int64_t rows, int64_t a_columns, int64_t b_columns, const float* a, const float* b, float* c) {
  outer_product<float, false>(std::min(rows, DEEP), a_columns, b_columns, a, b, c);
  for (int64_t i = DEEP; i < rows; i += DEEP)
    outer_product<float, true>(std::min(rows - i, DEEP), a_columns, b_columns, a + i * a_columns, b + i * b_columns, c);
}

#include "end_avx512.h"

#endif
