// Rows times a packed matrix. Part of each variant.
//
// Every output is one chain of additions over the inputs in their order, whatever the number of rows and whichever
// tile they fall into: a row's result does not depend on what else is in the batch, to the last bit.

// Where results go. A tile of a panel arrives as floats; `finish` does the rest.
struct Output {
  enum Kind { Store, Add, Gated } kind = Store;
  float* base = nullptr;        // Store, Add: rows of `stride` floats
  size_t stride = 0;
  int limit = 1 << 30;          // Store: columns from here on do not exist in `base`
  const float* bias = nullptr;  // Store: added, padded to whole blocks
  uint8_t* records = nullptr;   // Gated: rows of silu(gate) · up as the next matrix wants them
  size_t record_stride = 0;
  Format record_format = F32;
  int record_inputs = 0;
};

constexpr int kTileWidth = kWidest * kBlock;

static inline void finish(const Output& out, const float* tile, int first_row, int rows, int column, int blocks) {
  for (int r = 0; r < rows; ++r, tile += kTileWidth) {
    if (out.kind == Output::Gated) {
      alignas(64) float gated[kTileWidth / 2];
      for (int b = 0; b < blocks; b += 2) store(gated + b * 8, silu(load(tile + b * 16)) * load(tile + b * 16 + 16));
      if (blocks == 2) store(gated + 16, splat(0.0f));
      uint8_t* record = out.records + out.record_stride * (first_row + r);
      write_activation(out.record_format, gated, column / 2, blocks == 2 && !quantised(out.record_format) ? 16 : 32,
                       out.record_inputs, record);
      continue;
    }
    float* row = out.base + out.stride * (first_row + r) + column;
    for (int b = 0; b < blocks; ++b) {
      Lanes value = load(tile + b * 16);
      if (out.bias != nullptr) value = value + load(out.bias + column + b * 16);
      if (out.kind == Output::Add) value = value + load(row + b * 16);
      const int left = out.limit - column - b * 16;
      if (left >= 16) store(row + b * 16, value);
      else if (left > 0) store_first(row + b * 16, value, left);
    }
  }
}

struct Panel {
  const uint8_t* numbers;
  const uint16_t* scales;
  int blocks;   // in the panel
  int depth, inputs;
};

// The panel after the one in work, asked for while that one is multiplied: with many rows a panel is read from memory
// once and from the caches for every tile of rows after the first, and memory would stand still meanwhile.
struct Ahead {
  const uint8_t* next = nullptr;
  int left = 0;     // lines of 64 bytes
  int at_once = 0;  // of them, at each call

  void ask() {
    const int lines = at_once < left ? at_once : left;
    for (int i = 0; i < lines; ++i) __builtin_prefetch(next + i * 64, 0, 2);
    next += lines * 64;
    left -= lines;
  }
};

constexpr int kPairsBetween = 8;  // of inputs, from one call of `ask` to the next
constexpr int kRowsToAsk = 3;     // fewer are never one of several tiles, and wait for memory all the time

// Sums of this many inputs are added to each other: their rounding errors stay small, as in a library's products.
constexpr int kRun = 128;

template <int NB, int R> static inline void tile_f32(const Panel& panel, int first, const uint8_t* const* rows, float* out) {
  Lanes sums[R][NB];
  const float* x[R];
  PONDER_UNROLL for (int r = 0; r < R; ++r) {
    x[r] = reinterpret_cast<const float*>(rows[r]);
    PONDER_UNROLL for (int b = 0; b < NB; ++b) sums[r][b] = splat(0.0f);
  }
  const float* w = reinterpret_cast<const float*>(panel.numbers) + first * kBlock;
  const int step = panel.blocks * kBlock;
  for (int start = 0; start < panel.depth; start += kRun) {
    const int end = panel.depth - start < kRun ? panel.depth : start + kRun;
    for (int k = start; k < end; ++k, w += step) {
      Lanes weights[NB];
      PONDER_UNROLL for (int b = 0; b < NB; ++b) weights[b] = load(w + b * kBlock);
      PONDER_UNROLL for (int r = 0; r < R; ++r) {
        const Lanes value = splat(x[r][k]);
        PONDER_UNROLL for (int b = 0; b < NB; ++b) sums[r][b] = fma(value, weights[b], sums[r][b]);
      }
    }
    PONDER_UNROLL for (int r = 0; r < R; ++r) {
      PONDER_UNROLL for (int b = 0; b < NB; ++b) {
        float* total = out + r * kTileWidth + (first + b) * kBlock;
        store(total, start == 0 ? sums[r][b] : load(total) + sums[r][b]);
        sums[r][b] = splat(0.0f);
      }
    }
  }
}

// Adds the products of two inputs each, from `begin` to `end`.
template <int NB, int R>
static inline void add_pairs(const uint8_t* w, int step, const uint32_t* const* x, int begin, int end, Lanes (&sums)[R][NB]) {
  for (int k = begin; k < end; ++k, w += step) {
    Bytes weights[NB];
    PONDER_UNROLL for (int b = 0; b < NB; ++b) weights[b] = load_bytes(w + b * 64);
    PONDER_UNROLL for (int r = 0; r < R; ++r) {
      PONDER_UNROLL for (int b = 0; b < NB; ++b) sums[r][b] = dot_bf16(sums[r][b], weights[b], x[r][k]);
    }
  }
}

template <int NB, int R>
static inline void tile_bf16(const Panel& panel, int first, const uint8_t* const* rows, float* out, Ahead& ahead) {
  Lanes sums[R][NB];
  const uint32_t* x[R];
  PONDER_UNROLL for (int r = 0; r < R; ++r) {
    x[r] = reinterpret_cast<const uint32_t*>(rows[r]);
    PONDER_UNROLL for (int b = 0; b < NB; ++b) sums[r][b] = splat(0.0f);
  }
  const uint8_t* w = panel.numbers + first * 64;
  const int step = panel.blocks * 64, pairs = panel.depth / 2;
  if constexpr (R < kRowsToAsk) {
    add_pairs<NB, R>(w, step, x, 0, pairs, sums);
  } else {
    for (int begin = 0; begin < pairs; begin += kPairsBetween, w += size_t(kPairsBetween) * step) {
      ahead.ask();
      add_pairs<NB, R>(w, step, x, begin, pairs - begin < kPairsBetween ? pairs : begin + kPairsBetween, sums);
    }
  }
  PONDER_UNROLL for (int r = 0; r < R; ++r)
    PONDER_UNROLL for (int b = 0; b < NB; ++b) store(out + r * kTileWidth + (first + b) * kBlock, sums[r][b]);
}

// Adds a group's products of bytes, from the `at`-th byte of each row on.
template <Format F, int NB, int R>
static inline void add_group(const uint8_t* w, int step, const uint8_t* const* rows, size_t at, Integers (&sums)[R][NB]) {
  constexpr int kSteps = F == Q8 ? 8 : 4;
  PONDER_UNROLL for (int s = 0; s < kSteps; ++s) {
    Bytes low[NB], high[NB];
    PONDER_UNROLL for (int b = 0; b < NB; ++b) {
      low[b] = load_bytes(w + s * step + b * 64);
      if (F != Q8) {
        high[b] = high_nibbles(low[b]);
        low[b] = low_nibbles(low[b]);
      }
    }
    PONDER_UNROLL for (int r = 0; r < R; ++r) {
      int32_t x, y = 0;
      const uint8_t* row = rows[r] + at + s * 4;
      std::memcpy(&x, row, 4);
      if (F != Q8) std::memcpy(&y, row + 16, 4);
      PONDER_UNROLL for (int b = 0; b < NB; ++b) {
        if (F == Q8) {
          sums[r][b] = dot_bytes(sums[r][b], low[b], x);
        } else {
          sums[r][b] = dot_nibbles(sums[r][b], low[b], x);
          sums[r][b] = dot_nibbles(sums[r][b], high[b], y);
        }
      }
    }
  }
}

// Likewise with activations of 16 bits: every weight is loaded once for both of their bytes.
template <Format F, int NB, int R>
static inline void add_fine_group(const uint8_t* w, int step, const uint8_t* const* rows, size_t at, size_t second,
                                  Integers (&sums)[R][NB]) {
  constexpr int kSteps = F == Q8 ? 8 : 4;
  Integers low_sums[R][NB];
  PONDER_UNROLL for (int r = 0; r < R; ++r)
    PONDER_UNROLL for (int b = 0; b < NB; ++b) low_sums[r][b] = splat(0);
  PONDER_UNROLL for (int s = 0; s < kSteps; ++s) {
    Bytes low[NB], high[NB];
    PONDER_UNROLL for (int b = 0; b < NB; ++b) {
      low[b] = load_bytes(w + s * step + b * 64);
      if (F != Q8) {
        high[b] = high_nibbles(low[b]);
        low[b] = low_nibbles(low[b]);
      }
    }
    PONDER_UNROLL for (int r = 0; r < R; ++r) {
      int32_t x, y = 0, u, v = 0;
      const uint8_t* row = rows[r] + at + s * 4;
      std::memcpy(&x, row, 4);
      std::memcpy(&u, row + second, 4);
      if (F != Q8) std::memcpy(&y, row + 16, 4);
      if (F != Q8) std::memcpy(&v, row + second + 16, 4);
      PONDER_UNROLL for (int b = 0; b < NB; ++b) {
        if (F == Q8) {
          sums[r][b] = dot_bytes(sums[r][b], low[b], x);
          low_sums[r][b] = dot_bytes(low_sums[r][b], low[b], u);
        } else {
          sums[r][b] = dot_nibbles(sums[r][b], low[b], x);
          low_sums[r][b] = dot_nibbles(low_sums[r][b], low[b], u);
          sums[r][b] = dot_nibbles(sums[r][b], high[b], y);
          low_sums[r][b] = dot_nibbles(low_sums[r][b], high[b], v);
        }
      }
    }
  }
  PONDER_UNROLL for (int r = 0; r < R; ++r)
    PONDER_UNROLL for (int b = 0; b < NB; ++b) sums[r][b] = times_256(sums[r][b]) + low_sums[r][b];
}

// Whole numbers within a group of 32, floats from group to group.
template <Format As, int NB, int R, bool Whole>
static inline void tile_quantised(const Panel& panel, int first, const uint8_t* const* rows, float* out, Ahead& ahead) {
  constexpr Format F = stored_as(As);
  constexpr int kSteps = F == Q8 ? 8 : 4;
  Lanes totals[R][NB];
  const GroupScale* scales[R];
  PONDER_UNROLL for (int r = 0; r < R; ++r) {
    scales[r] = scales_of(const_cast<uint8_t*>(rows[r]), panel.inputs);
    PONDER_UNROLL for (int b = 0; b < NB; ++b) totals[r][b] = splat(0.0f);
  }
  // a constant where the tile is the whole panel: all of a group is then addressed from one register
  const int blocks = Whole ? NB : panel.blocks;
  const int step = blocks * 64, scale_step = blocks * kBlock * (F == Q4M ? 2 : 1);
  const uint8_t* w = panel.numbers + first * 64;
  const uint16_t* d = panel.scales + first * kBlock;
  const int groups = panel.depth / kGroup;
  const size_t second = second_bytes(panel.inputs);
  for (int g = 0; g < groups; ++g, d += scale_step) {
    if (R >= kRowsToAsk) ahead.ask();
    Integers sums[R][NB];
    PONDER_UNROLL for (int r = 0; r < R; ++r) {
      // -128 Σ q of int8 rows is where the sums begin: an addition saved
      const int offset = F == Q8 ? scales[r][g].minus_128_sums : F == Q4 ? scales[r][g].minus_8_sums : 0;
      const Integers start = splat(fine(As) ? 0 : offset);
      PONDER_UNROLL for (int b = 0; b < NB; ++b) sums[r][b] = start;
    }
    if constexpr (!fine(As)) add_group<F, NB, R>(w, step, rows, g * kGroup, sums);
    if constexpr (fine(As)) {
      if constexpr (R * NB * 2 <= 16) {
        add_fine_group<F, NB, R>(w, step, rows, g * kGroup, second, sums);
      } else {
        add_group<F, NB, R>(w, step, rows, g * kGroup, sums);
        PONDER_UNROLL for (int r = 0; r < R; ++r)
          PONDER_UNROLL for (int b = 0; b < NB; ++b) sums[r][b] = times_256(sums[r][b]);
        add_group<F, NB, R>(w, step, rows, second + g * kGroup, sums);
      }
      PONDER_UNROLL for (int r = 0; r < R; ++r) {
        const Integers offset = splat(F == Q8 ? scales[r][g].minus_128_sums : F == Q4 ? scales[r][g].minus_8_sums : 0);
        PONDER_UNROLL for (int b = 0; b < NB; ++b) sums[r][b] = sums[r][b] + offset;
      }
    }
    w += size_t(kSteps) * step;
    PONDER_UNROLL for (int b = 0; b < NB; ++b) {
      const Lanes scale = load_half(d + b * kBlock);
      const Lanes minimum = F == Q4M ? load_half(d + (blocks + b) * kBlock) : scale;
      PONDER_UNROLL for (int r = 0; r < R; ++r) {
        if (F == Q4M) totals[r][b] = fma(minimum, splat(scales[r][g].scaled_sum), totals[r][b]);
        totals[r][b] = fma(to_floats(sums[r][b]), scale * splat(scales[r][g].scale), totals[r][b]);
      }
    }
  }
  PONDER_UNROLL for (int r = 0; r < R; ++r)
    PONDER_UNROLL for (int b = 0; b < NB; ++b) store(out + r * kTileWidth + (first + b) * kBlock, totals[r][b]);
}

template <Format F, int NB, int R, bool Whole = false>
static inline void tile(const Panel& panel, int first, const uint8_t* const* rows, float* out, Ahead& ahead) {
  if constexpr (F == F32) tile_f32<NB, R>(panel, first, rows, out);
  else if constexpr (F == BF16) tile_bf16<NB, R>(panel, first, rows, out, ahead);
  else tile_quantised<F, NB, R, Whole>(panel, first, rows, out, ahead);
}

// Blocks of a panel that R rows are multiplied with at a time: as many as the registers hold sums for.
template <Format F, int R> constexpr int blocks_at_once() {
  constexpr int kSums = F >= Q8 ? 2 * R : R;  // registers that one block takes
  constexpr int kFit = (kRegisters * 7 / 8) / kSums;
  return kFit < 1 ? 1 : kFit > kWidest ? kWidest : kFit;
}

// R rows times the whole panel.
template <Format F, int R>
static void panel_tile(const Panel& panel, const uint8_t* const* rows, float* out, Ahead& ahead) {
  constexpr int kAtOnce = blocks_at_once<F, R>();
  int first = 0;
  if constexpr (kAtOnce >= 4) {
    if (panel.blocks == 4) return tile<F, 4, R, true>(panel, 0, rows, out, ahead);
    for (; first + 4 <= panel.blocks; first += 4) tile<F, 4, R>(panel, first, rows, out, ahead);
  }
  if constexpr (kAtOnce >= 3) {
    if (panel.blocks - first == 3) { tile<F, 3, R>(panel, first, rows, out, ahead); first += 3; }
  }
  if constexpr (kAtOnce >= 2) {
    for (; first + 2 <= panel.blocks; first += 2) tile<F, 2, R>(panel, first, rows, out, ahead);
  }
  for (; first < panel.blocks; ++first) tile<F, 1, R>(panel, first, rows, out, ahead);
}

// R rows, or the fewer that are left.
template <Format F, int R>
static inline void row_tile(const Panel& panel, const uint8_t* const* rows, int left, float* out, Ahead& ahead) {
  if constexpr (R > 1) {
    if (left < R) return row_tile<F, R - 1>(panel, rows, left, out, ahead);
  }
  panel_tile<F, R>(panel, rows, out, ahead);
}

// What is to be asked for of `panel` while the one before it is multiplied with `tiles` tiles of up to R rows.
template <Format F, int R> static Ahead ahead_of(const Matrix& matrix, int panel, int tiles) {
  if (F == F32 || tiles < 2) return {};  // a single tile reads memory all the time
  const int blocks = matrix.panel_blocks(panel);
  const int calls = quantised(F) ? matrix.groups() : (matrix.depth / 2 + kPairsBetween - 1) / kPairsBetween;
  const int lines = int((matrix.block_number_bytes() + matrix.block_scale_bytes()) * blocks / 64);
  const int times = tiles * calls * ((blocks + blocks_at_once<F, R>() - 1) / blocks_at_once<F, R>());
  return {matrix.panel(panel), lines, (lines + times - 1) / times};
}

template <Format F>
static void gemm_panels(const Matrix& matrix, const uint8_t* const* rows, int count, const Output& out, int begin, int end) {
  // sums of whole numbers and of floats: on few registers, fewer rows
  constexpr int R = F >= Q8 && kRegisters < 16 ? 3 : kRowTile;
  alignas(64) float results[R * kTileWidth];
  const int tiles = (count + R - 1) / R;
  for (int index = begin; index < end; ++index) {
    const uint8_t* data = matrix.panel(index);
    const int blocks = matrix.panel_blocks(index);
    const Panel panel{data, reinterpret_cast<const uint16_t*>(data + matrix.block_number_bytes() * blocks), blocks,
                      matrix.depth, matrix.inputs};
    Ahead ahead = index + 1 < end ? ahead_of<F, R>(matrix, index + 1, tiles) : Ahead{};
    const int column = index * matrix.width * kBlock;
    for (int t = 0, r = 0; t < tiles; ++t) {
      const int some = (count - r + tiles - t - 1) / (tiles - t);  // tiles of about as many rows each
      row_tile<F, R>(panel, rows + r, some, results, ahead);
      finish(out, results, r, some, column, blocks);
      r += some;
    }
  }
}

// Panels [begin, end) of matrix × rows.
static void gemm(const Matrix& matrix, const uint8_t* const* rows, int count, const Output& out, int begin, int end) {
  switch (matrix.format) {
    case F32: gemm_panels<F32>(matrix, rows, count, out, begin, end); break;
    case BF16: gemm_panels<BF16>(matrix, rows, count, out, begin, end); break;
    case Q8: gemm_panels<Q8>(matrix, rows, count, out, begin, end); break;
    case Q4: gemm_panels<Q4>(matrix, rows, count, out, begin, end); break;
    case Q4M: gemm_panels<Q4M>(matrix, rows, count, out, begin, end); break;
    case Q8Fine: gemm_panels<Q8Fine>(matrix, rows, count, out, begin, end); break;
    case Q4Fine: gemm_panels<Q4Fine>(matrix, rows, count, out, begin, end); break;
    case Q4MFine: gemm_panels<Q4MFine>(matrix, rows, count, out, begin, end); break;
  }
}
