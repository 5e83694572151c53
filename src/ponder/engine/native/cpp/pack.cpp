// Weights into the kernels' layout, and a row of them back. Plain loops: this runs once per load or update.
#include <cmath>
#include <vector>

#include "matrix.h"
#include "number.h"

namespace ponder {

namespace {

constexpr uint16_t kNan = 0x7e00;  // of float16

// Where one output stands: its panel, its block in the panel, its lane in the block.
struct Place {
  uint8_t* panel;
  int blocks, block, lane;
};

int column_of(const Matrix& matrix, int output) {
  if (!matrix.paired) return output;
  const int half = matrix.outputs / 2;
  const int index = output < half ? output : output - half;
  return index / kBlock * 2 * kBlock + index % kBlock + (output < half ? 0 : kBlock);
}

Place place_of(const Matrix& matrix, int output) {
  const int column = column_of(matrix, output);
  const int block = column / kBlock, panel = block / matrix.width;
  return {matrix.panel(panel), matrix.panel_blocks(panel), block % matrix.width, column % kBlock};
}

uint8_t* scales_of(const Matrix& matrix, const Place& place) {
  return place.panel + matrix.block_number_bytes() * place.blocks;
}

uint16_t* scale_at(const Matrix& matrix, const Place& place, int group) {
  const int per_group = place.blocks * kBlock * (stored_as(matrix.format) == Q4M ? 2 : 1);
  auto* scales = reinterpret_cast<uint16_t*>(scales_of(matrix, place));
  return scales + size_t(group) * per_group + place.block * kBlock + place.lane;
}

uint16_t* minimum_at(const Matrix& matrix, const Place& place, int group) {
  return scale_at(matrix, place, group) + place.blocks * kBlock;
}

uint8_t* byte_at(const Matrix& matrix, const Place& place, int group, int step) {
  const int steps = stored_as(matrix.format) == Q8 ? 8 : 4;
  return place.panel + ((size_t(group) * steps + step) * place.blocks + place.block) * 64 + place.lane * 4;
}

// 32 numbers of a group: bytes 0 … 255 (Q8) or nibbles (Q4, Q4M).
void store_group(const Matrix& matrix, const Place& place, int group, const uint8_t* numbers) {
  if (stored_as(matrix.format) == Q8) {
    for (int step = 0; step < 8; ++step) std::memcpy(byte_at(matrix, place, group, step), numbers + 4 * step, 4);
    return;
  }
  for (int step = 0; step < 4; ++step) {
    uint8_t* bytes = byte_at(matrix, place, group, step);
    for (int j = 0; j < 4; ++j) bytes[j] = uint8_t(numbers[4 * step + j] | numbers[16 + 4 * step + j] << 4);
  }
}

int clamp(int value, int low, int high) { return value < low ? low : value > high ? high : value; }

bool all_finite(const float* values, int count) {
  float sum = 0.0f;
  for (int i = 0; i < count; ++i) sum += values[i] - values[i];  // of infinity, NaN
  return sum == 0.0f;
}

// A group of which some number is not finite gets a scale that is NaN: so is whatever it makes.
void quantise_group(const Matrix& matrix, const Place& place, int group, const float* values, int count) {
  if (!all_finite(values, count)) {
    const uint8_t zeros[kGroup] = {};
    store_group(matrix, place, group, zeros);
    *scale_at(matrix, place, group) = kNan;
    if (stored_as(matrix.format) == Q4M) *minimum_at(matrix, place, group) = kNan;
    return;
  }
  float low = count < kGroup ? 0.0f : values[0], high = low, extreme = 0.0f;
  for (int i = 0; i < count; ++i) {
    low = values[i] < low ? values[i] : low;
    high = values[i] > high ? values[i] : high;
    if (std::fabs(values[i]) > std::fabs(extreme)) extreme = values[i];
  }
  uint16_t scale, minimum = 0;
  float offset;
  int top, zero;
  if (stored_as(matrix.format) == Q8) {
    scale = to_half(std::fabs(extreme) / 127.0f), offset = 0.0f, top = 255, zero = 128;
  } else if (stored_as(matrix.format) == Q4) {
    scale = to_half(extreme / -8.0f), offset = 0.0f, top = 15, zero = 8;
  } else {
    minimum = to_half(low), scale = to_half((high - low) / 15.0f), offset = from_half(minimum), top = 15, zero = 0;
  }
  const float step = from_half(scale), inverse = step == 0.0f ? 0.0f : 1.0f / step;
  uint8_t numbers[kGroup];
  for (int i = 0; i < kGroup; ++i) {
    const float value = i < count ? values[i] : 0.0f;
    const int bottom = stored_as(matrix.format) == Q8 ? 1 : 0;
    numbers[i] = uint8_t(clamp(zero + int(std::lrint((value - offset) * inverse)), bottom, top));
  }
  store_group(matrix, place, group, numbers);
  *scale_at(matrix, place, group) = scale;
  if (stored_as(matrix.format) == Q4M) *minimum_at(matrix, place, group) = minimum;
}

// A block as GGUF stores it: Q8_0: scale, 32 signed bytes. Q4_0: scale, 16 bytes (value i low, i + 16 high).
// Q4_1: scale, minimum, 16 bytes.
void copy_block(const Matrix& matrix, const Place& place, int group, SourceType type, const uint8_t* block) {
  uint16_t scale, minimum = 0;
  std::memcpy(&scale, block, 2);
  uint8_t numbers[kGroup];
  if (type == SourceQ8_0) {
    for (int i = 0; i < kGroup; ++i) numbers[i] = uint8_t(block[2 + i] ^ 0x80);
  } else {
    const uint8_t* nibbles = block + (type == SourceQ4_1 ? 4 : 2);
    for (int i = 0; i < 16; ++i) numbers[i] = nibbles[i] & 15, numbers[16 + i] = nibbles[i] >> 4;
    if (type == SourceQ4_1) std::memcpy(&minimum, block + 2, 2);
    else minimum = to_half(-8.0f * from_half(scale));  // exact: three steps of the exponent
  }
  store_group(matrix, place, group, numbers);
  *scale_at(matrix, place, group) = scale;
  if (stored_as(matrix.format) == Q4M) *minimum_at(matrix, place, group) = minimum;
}

// The numbers of GGUF blocks: each a product and a sum rounded on its own, as whoever reads the file with PyTorch has them.
void read_blocks(SourceType type, const uint8_t* source, int count, float* out) {
  const int head = type == SourceQ4_1 ? 4 : 2, bytes = head + (type == SourceQ8_0 ? 32 : 16);
  for (int first = 0; first < count; first += kGroup, source += bytes, out += kGroup) {
    uint16_t stored;
    std::memcpy(&stored, source, 2);
    const float scale = from_half(stored);
    const uint8_t* numbers = source + head;
    if (type == SourceQ8_0) {
      for (int i = 0; i < kGroup; ++i) out[i] = float(int8_t(numbers[i])) * scale;
      continue;
    }
    const int zero = type == SourceQ4_0 ? 8 : 0;
    for (int i = 0; i < 16; ++i) out[i] = float((numbers[i] & 15) - zero) * scale, out[16 + i] = float((numbers[i] >> 4) - zero) * scale;
    if (type == SourceQ4_1) {
      std::memcpy(&stored, source + 2, 2);
      const float minimum = from_half(stored);
      for (int i = 0; i < kGroup; ++i) out[i] += minimum;
    }
  }
}

bool is_blocks(SourceType type) { return type == SourceQ8_0 || type == SourceQ4_0 || type == SourceQ4_1; }

void read_row(SourceType type, const uint8_t* source, int count, float* out) {
  if (is_blocks(type)) return read_blocks(type, source, count, out);
  if (type == SourceF32) {
    std::memcpy(out, source, size_t(count) * 4);
    return;
  }
  for (int i = 0; i < count; ++i) {
    uint16_t number;
    std::memcpy(&number, source + 2 * size_t(i), 2);
    out[i] = type == SourceBF16 ? from_bf16(number) : from_half(number);
  }
}

// Rows that follow each other in one block, inputs outwards: the inner loop writes whole cache lines.
void store_plain_rows(const Matrix& matrix, const Place& place, const float* values, int stride, int count) {
  const size_t blocks = place.blocks;
  if (matrix.format == F32) {
    auto* out = reinterpret_cast<float*>(place.panel) + place.block * kBlock + place.lane;
    for (int k = 0; k < matrix.inputs; ++k, out += blocks * kBlock)
      for (int r = 0; r < count; ++r) out[r] = values[size_t(r) * stride + k];
    return;
  }
  auto* out = reinterpret_cast<uint32_t*>(place.panel) + place.block * kBlock + place.lane;
  for (int k = 0; k < matrix.depth; k += 2, out += blocks * kBlock)
    for (int r = 0; r < count; ++r) {
      const float* pair = values + size_t(r) * stride + k;
      out[r] = to_bf16(pair[0]) | uint32_t(to_bf16(pair[1])) << 16;
    }
}

}  // namespace

void shape_matrix(Matrix& matrix, Format format, int outputs, int inputs, bool paired, int threads) {
  matrix.format = format;
  matrix.outputs = outputs;
  matrix.inputs = inputs;
  matrix.paired = paired;
  matrix.depth = format == F32 ? inputs : round_up(inputs, format == BF16 ? 2 : kGroup);
  // a gated panel makes whole groups of the next matrix's inputs
  matrix.blocks = paired ? 2 * round_up(outputs / 2, quantised(format) ? kGroup : kBlock) / kBlock
                         : round_up(outputs, kBlock) / kBlock;
  matrix.width = kWidest;
  if (!paired && threads > 1) {
    int best = 1 << 30;
    for (int width = kWidest; width >= 2; --width) {
      const int panels = (matrix.blocks + width - 1) / width;
      const int most = ((panels + threads - 1) / threads) * width;  // blocks of the busiest thread
      if (most < best) best = most, matrix.width = width;
    }
  }
  matrix.panels = (matrix.blocks + matrix.width - 1) / matrix.width;
  matrix.panel_bytes = align64((matrix.block_number_bytes() + matrix.block_scale_bytes()) * matrix.width);
}

size_t source_row_bytes(SourceType type, int inputs) {
  switch (type) {
    case SourceF32: return size_t(inputs) * 4;
    case SourceBF16:
    case SourceF16: return size_t(inputs) * 2;
    default: break;
  }
  if (inputs % kGroup) return 0;
  const size_t block = type == SourceQ8_0 ? 34 : type == SourceQ4_0 ? 18 : 20;
  return size_t(inputs) / kGroup * block;
}

bool fits_unchanged(Format format, SourceType type) {
  const Format held = stored_as(format);
  if (type == SourceQ4_0) return held == Q4 || held == Q4M;
  return (type == SourceQ8_0 && held == Q8) || (type == SourceQ4_1 && held == Q4M);
}

void pack_rows(Matrix& matrix, SourceType type, bool unchanged, const uint8_t* source, int rows, int first, int part, int parts) {
  const size_t row_bytes = source_row_bytes(type, matrix.inputs);
  const int shares = (rows + kBlock - 1) / kBlock;
  const int begin = int(int64_t(shares) * part / parts) * kBlock;
  int end = int(int64_t(shares) * (part + 1) / parts) * kBlock;
  if (end > rows) end = rows;
  const int stride = round_up(matrix.inputs, kGroup);
  std::vector<float> values(unchanged ? 0 : size_t(stride) * kBlock);
  for (int row = begin; row < end;) {
    const Place place = place_of(matrix, first + row);
    int count = kBlock - place.lane < end - row ? kBlock - place.lane : end - row;
    // the halves of a paired matrix need not end at a block's end
    while (place_of(matrix, first + row + count - 1).lane != place.lane + count - 1) --count;
    const uint8_t* stored = source + row_bytes * row;
    if (unchanged) {
      const size_t block_bytes = row_bytes / (matrix.inputs / kGroup);
      for (int r = 0; r < count; ++r) {
        const Place at = place_of(matrix, first + row + r);
        for (int g = 0; g < matrix.groups(); ++g)
          copy_block(matrix, at, g, type, stored + row_bytes * r + block_bytes * g);
      }
    } else {
      for (int r = 0; r < count; ++r)
        read_row(type, stored + row_bytes * r, matrix.inputs, values.data() + size_t(stride) * r);
      if (!quantised(matrix.format)) {
        store_plain_rows(matrix, place, values.data(), stride, count);
      } else {
        for (int r = 0; r < count; ++r) {
          const Place at = place_of(matrix, first + row + r);
          for (int g = 0; g < matrix.groups(); ++g) {
            const int left = matrix.inputs - g * kGroup;
            const float* group = values.data() + size_t(stride) * r + g * kGroup;
            quantise_group(matrix, at, g, group, left < kGroup ? left : kGroup);
          }
        }
      }
    }
    row += count;
  }
}

void unpack_row(const Matrix& matrix, int output, float* out) {
  const Place place = place_of(matrix, output);
  const size_t blocks = place.blocks;
  const int column = place.block * kBlock + place.lane;
  if (matrix.format == F32) {
    const auto* in = reinterpret_cast<const float*>(place.panel) + column;
    for (int k = 0; k < matrix.inputs; ++k) out[k] = in[k * blocks * kBlock];
  } else if (matrix.format == BF16) {
    const auto* in = reinterpret_cast<const uint32_t*>(place.panel) + column;
    for (int k = 0; k < matrix.depth; k += 2) {
      const uint32_t pair = in[k / 2 * blocks * kBlock];
      out[k] = from_bf16(uint16_t(pair)), out[k + 1] = from_bf16(uint16_t(pair >> 16));
    }
  } else {
    const int steps = stored_as(matrix.format) == Q8 ? 8 : 4;
    for (int g = 0; g < matrix.groups(); ++g) {
      const float scale = from_half(*scale_at(matrix, place, g));
      const float low = stored_as(matrix.format) == Q4M ? from_half(*minimum_at(matrix, place, g)) : 0.0f;
      const int zero = stored_as(matrix.format) == Q8 ? 128 : stored_as(matrix.format) == Q4 ? 8 : 0;
      float* group = out + g * kGroup;
      for (int step = 0; step < steps; ++step) {
        const uint8_t* bytes = byte_at(matrix, place, g, step);
        for (int j = 0; j < 4; ++j) {
          const int number = stored_as(matrix.format) == Q8 ? bytes[j] : bytes[j] & 15;
          group[4 * step + j] = scale * float(number - zero) + low;
          if (stored_as(matrix.format) != Q8) group[16 + 4 * step + j] = scale * float((bytes[j] >> 4) - zero) + low;
        }
      }
    }
  }
  for (int k = matrix.inputs; k < round_up(matrix.inputs, kGroup); ++k) out[k] = 0.0f;
}

}  // namespace ponder
