// Attention over the paged cache, a block of positions at a time with a running softmax. Part of each variant.
//
// What a query gets depends on its own positions only: blocks begin at fixed positions, and within one the order of
// additions is the same for every number of queries.

constexpr int kSpan = 256;    // positions of a block
constexpr int kQueries = 48;  // queries that share one pass over keys and values

struct AttentionShape {
  int scored, mixed;      // numbers of a key and of a value
  bool turned_values;     // values are the first `mixed` dimensions of the turned keys (MLA)
  float scale;
  bool without_first;     // nothing stands at position 0
};

// What `attend` needs for itself, for kQueries queries of a shape.
struct AttentionSpace {
  float* scores;    // (kQueries, kSpan)
  uint32_t* pairs;  // (kQueries, scored / 2) bf16 pairs
  float* mixed;     // (kQueries, mixed_stride)
  int mixed_stride;
  const uint8_t* keys[kSpan / kPage];
  const uint8_t* values[kSpan / kPage];
};

static inline int attention_scored(int scored) { return round_up(scored, kGroup); }

static AttentionSpace attention_space(void* memory, const AttentionShape& shape) {
  AttentionSpace space{};
  space.scores = static_cast<float*>(memory);
  space.pairs = reinterpret_cast<uint32_t*>(space.scores + kQueries * kSpan);
  space.mixed = reinterpret_cast<float*>(space.pairs + kQueries * attention_scored(shape.scored) / 2);
  space.mixed_stride = round_up(shape.mixed, kGroup);
  return space;
}

// Scores of R queries against P pages.
template <bool Half, int R, int P>
static inline void score_pages(const void* const* queries, const uint8_t* const* keys, int dims, float scale, float* scores) {
  Lanes sums[R][P];
  PONDER_UNROLL for (int r = 0; r < R; ++r)
    PONDER_UNROLL for (int p = 0; p < P; ++p) sums[r][p] = splat(0.0f);
  const int steps = Half ? (dims + 1) / 2 : dims;  // of an odd number the last has a partner that is 0
  for (int d = 0; d < steps; ++d) {
    if (Half) {
      Bytes key[P];
      PONDER_UNROLL for (int p = 0; p < P; ++p) key[p] = load_bytes(keys[p] + size_t(d) * 64);
      PONDER_UNROLL for (int r = 0; r < R; ++r) {
        const uint32_t q = static_cast<const uint32_t*>(queries[r])[d];
        PONDER_UNROLL for (int p = 0; p < P; ++p) sums[r][p] = dot_bf16(sums[r][p], key[p], q);
      }
    } else {
      Lanes key[P];
      PONDER_UNROLL for (int p = 0; p < P; ++p) key[p] = load(reinterpret_cast<const float*>(keys[p]) + d * 16);
      PONDER_UNROLL for (int r = 0; r < R; ++r) {
        const Lanes q = splat(static_cast<const float*>(queries[r])[d]);
        PONDER_UNROLL for (int p = 0; p < P; ++p) sums[r][p] = fma(q, key[p], sums[r][p]);
      }
    }
  }
  PONDER_UNROLL for (int r = 0; r < R; ++r)
    PONDER_UNROLL for (int p = 0; p < P; ++p) store(scores + r * kSpan + p * kPage, sums[r][p] * splat(scale));
}

constexpr int kPagesAtOnce = kRegisters >= 32 ? 4 : 1;
constexpr int kQueriesAtOnce = kRowTile;
constexpr int kMixedAtOnce = 4;

template <bool Half, int R>
static void score(const void* const* queries, const AttentionSpace& space, int pages, int dims, float scale, float* scores) {
  int p = 0;
  if constexpr (kPagesAtOnce > 1) {
    for (; p + kPagesAtOnce <= pages; p += kPagesAtOnce)
      score_pages<Half, R, kPagesAtOnce>(queries, space.keys + p, dims, scale, scores + p * kPage);
  }
  for (; p < pages; ++p) score_pages<Half, R, 1>(queries, space.keys + p, dims, scale, scores + p * kPage);
}

// R queries, or the fewer that are left.
template <bool Half, int R>
static inline void score_some(const void* const* queries, const AttentionSpace& space, int pages, int dims, float scale, int left,
                              float* scores) {
  if constexpr (R > 1) {
    if (left < R) return score_some<Half, R - 1>(queries, space, pages, dims, scale, left, scores);
  }
  score<Half, R>(queries, space, pages, dims, scale, scores);
}

// Adds Σ weight · value to R rows of NV vectors; values are rows of `stride` numbers.
template <bool Half, int R, int NV>
static inline void mix_rows(const float* weights, const AttentionSpace& space, int positions, int stride, int first, float* out) {
  Lanes sums[R][NV];
  PONDER_UNROLL for (int r = 0; r < R; ++r)
    PONDER_UNROLL for (int v = 0; v < NV; ++v) sums[r][v] = load(out + r * space.mixed_stride + first + v * 16);
  for (int start = 0; start < positions; start += kPage) {
    const uint8_t* page = space.values[start / kPage];
    const int here = positions - start < kPage ? positions - start : kPage;
    for (int i = 0; i < here; ++i) {
      Lanes value[NV];
      PONDER_UNROLL for (int v = 0; v < NV; ++v) {
        const size_t at = size_t(i) * stride + first + v * 16;
        value[v] = Half ? load_bf16(reinterpret_cast<const uint16_t*>(page) + at) : load(reinterpret_cast<const float*>(page) + at);
      }
      PONDER_UNROLL for (int r = 0; r < R; ++r) {
        const Lanes weight = splat(weights[r * kSpan + start + i]);
        PONDER_UNROLL for (int v = 0; v < NV; ++v) sums[r][v] = fma(weight, value[v], sums[r][v]);
      }
    }
  }
  PONDER_UNROLL for (int r = 0; r < R; ++r)
    PONDER_UNROLL for (int v = 0; v < NV; ++v) store(out + r * space.mixed_stride + first + v * 16, sums[r][v]);
}

// Likewise from turned keys: lanes are positions, so a sum over the lanes ends it. D dimensions at a time.
template <bool Half, int R, int D>
static inline void mix_turned(const float* weights, const AttentionSpace& space, int positions, int first, float* out) {
  Lanes sums[R][D];
  PONDER_UNROLL for (int r = 0; r < R; ++r)
    PONDER_UNROLL for (int d = 0; d < D; ++d) sums[r][d] = splat(0.0f);
  for (int start = 0; start < positions; start += kPage) {
    const uint8_t* page = space.keys[start / kPage];
    Lanes value[D];
    if (Half) {
      PONDER_UNROLL for (int d = 0; d < D; d += 2) {
        const Bytes both = load_bytes(page + size_t(first + d) * 32);
        value[d] = lower_bf16(both);
        value[d + 1 < D ? d + 1 : d] = upper_bf16(both);
      }
    } else {
      PONDER_UNROLL for (int d = 0; d < D; ++d) value[d] = load(reinterpret_cast<const float*>(page) + (first + d) * 16);
    }
    const int here = positions - start;
    if (here < kPage) {  // beyond the last position there may be anything, a NaN too
      PONDER_UNROLL for (int d = 0; d < D; ++d) value[d] = keep_first(value[d], here, 0.0f);
    }
    PONDER_UNROLL for (int r = 0; r < R; ++r) {
      const Lanes weight = load(weights + r * kSpan + start);
      PONDER_UNROLL for (int d = 0; d < D; ++d) sums[r][d] = fma(weight, value[d], sums[r][d]);
    }
  }
  PONDER_UNROLL for (int r = 0; r < R; ++r)
    PONDER_UNROLL for (int d = 0; d < D; ++d) out[r * space.mixed_stride + first + d] += sum(sums[r][d]);
}

template <bool Half, int R>
static void mix(const AttentionShape& shape, const AttentionSpace& space, int query, int positions) {
  const float* weights = space.scores + query * kSpan;
  float* out = space.mixed + query * space.mixed_stride;
  int first = 0;
  if (shape.turned_values) {
    for (; first + 4 <= shape.mixed; first += 4) mix_turned<Half, R, 4>(weights, space, positions, first, out);
    // a pair of dimensions may reach one past the latent; what it adds there is never read
    for (; first < shape.mixed; first += 2) mix_turned<Half, R, 2>(weights, space, positions, first, out);
    return;
  }
  const int stride = round_up(shape.mixed, kPage);
  if constexpr (kRegisters >= 32) {
    for (; first + 64 <= stride; first += 64) mix_rows<Half, R, 4>(weights, space, positions, stride, first, out);
    for (; first + 32 <= stride; first += 32) mix_rows<Half, R, 2>(weights, space, positions, stride, first, out);
  }
  for (; first < stride; first += 16) mix_rows<Half, R, 1>(weights, space, positions, stride, first, out);
}

template <bool Half, int R>
static inline void mix_some(const AttentionShape& shape, const AttentionSpace& space, int query, int positions, int left) {
  if constexpr (R > 1) {
    if (left < R) return mix_some<Half, R - 1>(shape, space, query, positions, left);
  }
  mix<Half, R>(shape, space, query, positions);
}

template <bool Half>
static void attend_as(const Cache& cache, int layer, int head, const int32_t* table, const AttentionShape& shape,
                      const float* const* queries, int count, const int* limits, AttentionSpace& space) {
  float most[kQueries], total[kQueries];
  const void* rows[kQueries];
  int longest = 0;
  for (int q = 0; q < count; ++q) {
    most[q] = -1e30f, total[q] = 0.0f;
    if (limits[q] > longest) longest = limits[q];
    std::memset(space.mixed + q * space.mixed_stride, 0, size_t(space.mixed_stride) * 4);
    rows[q] = queries[q];
    if (Half) {
      uint32_t* pairs = space.pairs + q * attention_scored(shape.scored) / 2;
      const float* query = queries[q];
      for (int d = 0; d < shape.scored; d += 2) {
        const float partner = d + 1 < shape.scored ? query[d + 1] : 0.0f;
        pairs[d / 2] = to_bf16(query[d]) | uint32_t(to_bf16(partner)) << 16;
      }
      rows[q] = pairs;
    }
  }
  for (int start = 0; start < longest; start += kSpan) {
    const int span = longest - start < kSpan ? longest - start : kSpan;
    const int pages = (span + kPage - 1) / kPage;
    for (int p = 0; p < pages; ++p) {
      space.keys[p] = cache.keys(layer, table[start / kPage + p], head);
      space.values[p] = space.keys[p] + cache.key_bytes;
    }
    for (int q = 0; q < count; q += kQueriesAtOnce) {
      float* scores = space.scores + q * kSpan;
      const int left = count - q < kQueriesAtOnce ? count - q : kQueriesAtOnce;
      score_some<Half, kQueriesAtOnce>(rows + q, space, pages, shape.scored, shape.scale, left, scores);
    }
    for (int q = 0; q < count; ++q) {
      float* scores = space.scores + q * kSpan;
      if (shape.without_first && start == 0) scores[0] = -1e30f;
      const int left = limits[q] - start, valid = left < 0 ? 0 : left < span ? left : span;
      Lanes peak = splat(most[q]);
      for (int i = 0; i < valid; i += 16) peak = largest(keep_first(load(scores + i), valid - i, -1e30f), peak);
      const float now = maximum(peak);
      if (now > most[q] && start > 0) {
        const Lanes factor = exponential(splat(most[q] - now));
        float* out = space.mixed + q * space.mixed_stride;
        for (int i = 0; i < space.mixed_stride; i += 16) store(out + i, load(out + i) * factor);
        total[q] *= sum(keep_first(factor, 1, 0.0f));
      }
      most[q] = now;
      Lanes sums = splat(0.0f);
      const int padded = pages * kPage;
      int i = 0;
      for (; i < valid; i += 16) {
        const Lanes e = keep_first(exponential(load(scores + i) - splat(now)), valid - i, 0.0f);
        store(scores + i, e);
        sums = sums + e;
      }
      for (; i < padded; i += 16) store(scores + i, splat(0.0f));
      total[q] += sum(sums);
    }
    for (int q = 0; q < count; q += kMixedAtOnce)
      mix_some<Half, kMixedAtOnce>(shape, space, q, span, count - q < kMixedAtOnce ? count - q : kMixedAtOnce);
  }
  for (int q = 0; q < count; ++q) {
    float* out = space.mixed + q * space.mixed_stride;
    const Lanes factor = splat(1.0f / total[q]);
    for (int i = 0; i < space.mixed_stride; i += 16) store(out + i, load(out + i) * factor);
  }
}

// Softmax attention of `count` (at most kQueries) queries to the first `limits[q]` positions of one sequence. Leaves the
// results in `space.mixed`, `mixed_stride` apart.
static void attend(const Cache& cache, int layer, int head, const int32_t* table, const AttentionShape& shape,
                   const float* const* queries, int count, const int* limits, AttentionSpace& space) {
  if (cache.half) attend_as<true>(cache, layer, head, table, shape, queries, count, limits, space);
  else attend_as<false>(cache, layer, head, table, shape, queries, count, limits, space);
}

// One position's numbers into a turned page.
static inline void write_turned(const Cache& cache, uint8_t* page, int slot, const float* values, int first, int count) {
  if (cache.half) {
    uint16_t* out = reinterpret_cast<uint16_t*>(page) + slot * 2;
    for (int i = 0; i < count; ++i) out[(first + i) / 2 * 32 + ((first + i) & 1)] = to_bf16(values[i]);
  } else {
    float* out = reinterpret_cast<float*>(page) + slot;
    for (int i = 0; i < count; ++i) out[(first + i) * 16] = values[i];
  }
}

// One position's value into a page of rows.
static inline void write_value(const Cache& cache, uint8_t* page, int slot, const float* values, int count) {
  const int stride = round_up(count, kPage);
  for (int i = 0; i < count; ++i) {
    if (cache.half) reinterpret_cast<uint16_t*>(page)[slot * stride + i] = to_bf16(values[i]);
    else reinterpret_cast<float*>(page)[slot * stride + i] = values[i];
  }
}
