// A weight matrix as the kernels read it.
//
// The outputs are cut into blocks of 16 columns, and 2 to 4 blocks make a panel: what one thread streams through from
// its first byte to its last. Inside a panel the inputs run outwards:
//
//   F32    for each input          block 0 .. nb-1: 16 floats
//   BF16   for each two inputs     block 0 .. nb-1: 16 × (two bfloat16)
//   Q8     for each four inputs    block 0 .. nb-1: 16 × (four bytes, value + 128)
//   Q4,Q4M for each group of 32    4 × (block 0 .. nb-1: 16 × four bytes); byte j of step s holds inputs 4s + j (low
//                                  nibble) and 16 + 4s + j (high nibble)
//
// The three quantised formats have a float16 scale (Q4M: then a float16 minimum) for each group of 32 inputs and each
// column; they follow the panel's numbers: for each group, block 0 .. nb-1: 16 scales, then as many minima.
//   Q8: w = d (q - 128)      Q4: w = d (q - 8)      Q4M: w = d q + m
#pragma once

#include <cstddef>
#include <cstdint>

namespace ponder {

constexpr int kBlock = 16;  // columns of a block: the lanes of the widest vector
constexpr int kGroup = 32;  // inputs that share a scale
constexpr int kWidest = 4;  // blocks of the widest panel

enum Format : int32_t { F32 = 0, BF16 = 1, Q8 = 2, Q4 = 3, Q4M = 4, Q8Fine = 10, Q4Fine = 11, Q4MFine = 12 };

constexpr bool quantised(Format format) { return format >= Q8; }
// What multiplies a fine matrix has 16 bits instead of 8; the matrix itself is the same.
constexpr bool fine(Format format) { return (format & 8) != 0; }
constexpr Format stored_as(Format format) { return Format(format & 7); }

inline int round_up(int value, int to) { return (value + to - 1) / to * to; }
inline size_t align64(size_t bytes) { return (bytes + 63) / 64 * 64; }

// What multiplies a matrix is stored as the matrix asks: fp32, bf16, or int8 with one of these per group. For a fine
// matrix q is a number of 16 bits: 256 times a signed byte, which stands where int8 would, and a second signed byte,
// which stands after the scales.
struct GroupScale {
  float scale;
  int32_t minus_128_sums;  // -128 Σ q: what the offset of Q8's bytes adds to a product
  int32_t minus_8_sums;    // -8 Σ q: likewise for Q4
  float scaled_sum;        // scale · Σ q: the factor of Q4M's minimum
};

// Bytes of one row of `inputs` numbers that is to multiply a matrix of this format.
inline size_t activation_bytes(Format format, int inputs) {
  const size_t padded = round_up(inputs, kGroup);
  if (format == F32) return align64(padded * 4);
  if (format == BF16) return align64(padded * 2);
  return align64(padded) * (fine(format) ? 2 : 1) + align64(padded / kGroup * sizeof(GroupScale));
}

struct Matrix {
  Format format = F32;
  int outputs = 0, inputs = 0;
  int depth = 0;      // inputs, padded to what the format takes at a time
  int blocks = 0;     // of 16 columns, the last padded with zeros
  int width = 0;      // blocks of every panel but the last
  int panels = 0;
  bool paired = false;  // blocks alternate between the two halves of the outputs (gate and up)
  size_t panel_bytes = 0;
  uint8_t* data = nullptr;

  int groups() const { return depth / kGroup; }
  int panel_blocks(int panel) const {
    const int left = blocks - panel * width;
    return left < width ? left : width;
  }
  // Bytes of the numbers of one block of 16 columns; scales follow after all of the panel's numbers.
  size_t block_number_bytes() const {
    switch (stored_as(format)) {
      case F32: return size_t(depth) * 64;
      case BF16: return size_t(depth) * 32;
      case Q8: return size_t(depth) * 16;
      default: return size_t(depth) * 8;
    }
  }
  size_t block_scale_bytes() const {
    if (!quantised(format)) return 0;
    return size_t(groups()) * (stored_as(format) == Q4M ? 64 : 32);
  }
  uint8_t* panel(int index) const { return data + panel_bytes * index; }
  size_t bytes() const { return panel_bytes * panels; }
  bool empty() const { return data == nullptr; }
};

// How stored rows are written: plain numbers or the blocks of a GGUF file.
enum SourceType : int32_t { SourceF32 = 0, SourceBF16 = 1, SourceQ8_0 = 2, SourceQ4_0 = 3, SourceQ4_1 = 4, SourceF16 = 5 };

// Lay out a matrix of zeros. `threads` will share its panels: the width is the one that shares them most evenly.
void shape_matrix(Matrix& matrix, Format format, int outputs, int inputs, bool paired, int threads);

// Bytes of one stored row; 0 where `inputs` does not fit the type's blocks.
size_t source_row_bytes(SourceType type, int inputs);

// Whether stored blocks can be held as they are: Q8_0 → Q8, Q4_0 → Q4, Q4_1 (or Q4_0) → Q4M.
bool fits_unchanged(Format format, SourceType type);

// Write stored rows into the matrix, `unchanged` where they fit, else as numbers, which are quantised where the matrix
// asks for it. Row r of the source becomes output `first_output + r`. `part` of `parts` lets several threads share the work.
void pack_rows(Matrix& matrix, SourceType type, bool unchanged, const uint8_t* source, int rows, int first_output, int part,
               int parts);

// One output's weights as floats: the embedding of a token. `out` has room for `inputs` rounded up to a group.
void unpack_row(const Matrix& matrix, int output, float* out);

}  // namespace ponder
