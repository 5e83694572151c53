// Causal attention over packed sequences of tens to hundreds of tokens, forward and backward, in bf16 and in fp32, for
// x86-64 with AVX-512 and its BF16 products. Grouped-query and latent attention are the same here: they differ in where
// the parts of a key stand. Each call works on the calling thread alone and keeps its scratch memory between calls.
//
// Sequences come in families that begin alike. The beginning, the prefix, stands once, before what follows it in each
// member; a sequence of its own is a prefix that nothing follows. Members see the prefix and themselves.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "export.h"

#if defined(__x86_64__)
#include "begin_avx512.h"

namespace {

#include "lanes.h"

thread_local Scratch scratch;

// ---- C (+)= A B of units; C has rows of fp32 ----

struct Left {  // A: unit k of row r is at[r * row + k * unit]
  const void* at;
  int row, unit;
  template <class Number> static Left rows(const Number* x, int64_t stride) { return {x, int(stride / UNIT<Number>), 1}; }
  Left below(int r) const { return {static_cast<const char*>(at) + size_t(r) * row * 4, row, unit}; }
  uint32_t get(int r, int k) const {
    uint32_t bits;
    std::memcpy(&bits, static_cast<const char*>(at) + 4 * (ptrdiff_t(r) * row + ptrdiff_t(k) * unit), 4);
    return bits;
  }
};

template <class Number, int R, int N, bool ADD>
inline void tile(Left a, const uint32_t* b, int ldb, float* c, int ldc, int units) {
  Vector sum[R][N];
  for (int r = 0; r < R; r++)
    for (int n = 0; n < N; n++) sum[r][n] = ADD ? _mm512_loadu_ps(c + r * ldc + 16 * n) : _mm512_setzero_ps();
  for (int k = 0; k < units; k++)
    for (int r = 0; r < R; r++) {
      const uint32_t left = a.get(r, k);
      for (int n = 0; n < N; n++) sum[r][n] = multiply_add<Number>(left, b + size_t(k) * ldb + 16 * n, sum[r][n]);
    }
  for (int r = 0; r < R; r++)
    for (int n = 0; n < N; n++) _mm512_storeu_ps(c + r * ldc + 16 * n, sum[r][n]);
}

template <class Number, int N, bool ADD>
inline void column(int rows, Left a, const uint32_t* b, int ldb, float* c, int ldc, int units) {
  int r = 0;
  for (; r + 6 <= rows; r += 6) tile<Number, 6, N, ADD>(a.below(r), b, ldb, c + r * ldc, ldc, units);
  switch (rows - r) {
    case 5: tile<Number, 5, N, ADD>(a.below(r), b, ldb, c + r * ldc, ldc, units); break;
    case 4: tile<Number, 4, N, ADD>(a.below(r), b, ldb, c + r * ldc, ldc, units); break;
    case 3: tile<Number, 3, N, ADD>(a.below(r), b, ldb, c + r * ldc, ldc, units); break;
    case 2: tile<Number, 2, N, ADD>(a.below(r), b, ldb, c + r * ldc, ldc, units); break;
    case 1: tile<Number, 1, N, ADD>(a.below(r), b, ldb, c + r * ldc, ldc, units); break;
    default: break;
  }
}

// `columns` is a multiple of 16
template <class Number, bool ADD>
void product(int rows, int columns, int units, Left a, const uint32_t* b, int ldb, float* c, int ldc) {
  int n = 0;
  for (; n + 64 <= columns; n += 64) column<Number, 4, ADD>(rows, a, b + n, ldb, c + n, ldc, units);
  switch ((columns - n) / 16) {
    case 3: column<Number, 3, ADD>(rows, a, b + n, ldb, c + n, ldc, units); break;
    case 2: column<Number, 2, ADD>(rows, a, b + n, ldb, c + n, ldc, units); break;
    case 1: column<Number, 1, ADD>(rows, a, b + n, ldb, c + n, ldc, units); break;
    default: break;
  }
}

// Rows (length, dim) → units along dim, tokens side by side: (dim / UNIT, width), zeros beyond the length
template <class Number>
void units_of_dims(const Number* x, int64_t stride, int length, int dim, int width, uint32_t* out) {
  const int units = dim / UNIT<Number>;
  for (int t = 0; t < width; t += 16)
    for (int d = 0; d < units; d += 16) {
      __m512i block[16];
      for (int i = 0; i < 16; i++)
        block[i] = t + i < length ? _mm512_maskz_loadu_epi32(first(units - d), x + (t + i) * stride + UNIT<Number> * d)
                                  : _mm512_setzero_si512();
      transpose(block);
      for (int i = 0; i < std::min(16, units - d); i++) _mm512_storeu_si512(out + size_t(d + i) * width + t, block[i]);
    }
}

// Rows (length, dim) → units along tokens: (width / UNIT, dim rounded up to 16), zeros beyond the length and the dims
void units_of_tokens(const bf16* x, int64_t stride, int length, int dim, int width, uint32_t* out) {
  const int wide = int(round_up(dim, 16));
  for (int t = 0; t < width; t += 2)
    for (int d = 0; d < dim; d += 16) {
      const __mmask16 some = first(dim - d), none = 0;
      const __m256i a = load_bits(x + t * stride + d, t < length ? some : none);
      const __m256i b = load_bits(x + (t + 1) * stride + d, t + 1 < length ? some : none);
      _mm512_storeu_si512(out + size_t(t / 2) * wide + d, paired(a, b));
    }
}
void units_of_tokens(const float* x, int64_t stride, int length, int dim, int width, uint32_t* out) {
  const int wide = int(round_up(dim, 16));
  for (int t = 0; t < width; t++)
    for (int d = 0; d < dim; d += 16)
      store(reinterpret_cast<float*>(out) + size_t(t) * wide + d, load(x + t * stride + d, t < length ? first(dim - d) : 0));
}

// ---- what is attended with ----

constexpr int BLOCK = 32;  // queries worked on at once

struct Shape {  // the same in functions.py
  int32_t heads, kv_heads;
  int32_t plain, turned;  // dims of a query or key that are left as they are, and those after them that are turned
  int32_t value;
  int32_t interleaved;  // a pair that is turned together stands side by side; else half the turned dims apart
  float scale;
  int32_t families;
  const int32_t* parts;    // of each family: the prefix and its members
  const int32_t* lengths;  // of all parts, as they stand end to end
  const float* cosine;  // (tokens, turned / 2)
  const float* sine;
  int dims() const { return plain + turned; }
  int wide() const { return int(round_up(dims(), 16)); }
};

struct Rows {  // the same in functions.py: head h of token t starts at + t · token + h · head, counted in numbers
  void* at;
  int64_t token, head;  // head is 0 where all heads share one row
  template <class Number> Number* of(int64_t t, int h) const { return static_cast<Number*>(at) + t * token + h * head; }
};

struct Parts {  // of all tokens; a query's dims stand together, first those that are left as they are
  Rows query, plain_key, turned_key, value;
  Parts from(int64_t token, int64_t size) const {
    Parts moved = *this;
    for (Rows* rows : {&moved.query, &moved.plain_key, &moved.turned_key, &moved.value})
      rows->at = static_cast<char*>(rows->at) + token * rows->token * size;
    return moved;
  }
};

// Numbers 0, 2, 4, … and 1, 3, 5, … of 32, and back
inline void separate(Vector low, Vector high, Vector& even, Vector& odd) {
  const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  even = _mm512_permutex2var_ps(low, evens, high);
  odd = _mm512_permutex2var_ps(low, _mm512_add_epi32(evens, _mm512_set1_epi32(1)), high);
}
inline void join(Vector even, Vector odd, Vector& low, Vector& high) {
  const __m512i lows = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  low = _mm512_permutex2var_ps(even, lows, odd);
  high = _mm512_permutex2var_ps(even, _mm512_add_epi32(lows, _mm512_set1_epi32(8)), odd);
}

// One row's parts side by side and turned to its position, in halves order whatever the layout: queries and keys agree.
template <class Number>
inline void turn(const Shape& shape, const Number* plain, const Number* x, int64_t token, Number* out) {
  for (int d = 0; d < shape.plain; d += 16) store(out + d, first(shape.plain - d), load(plain + d, first(shape.plain - d)));
  const int half = shape.turned / 2;
  const float *cosine = shape.cosine + token * half, *sine = shape.sine + token * half;
  out += shape.plain;
  for (int d = 0; d < half; d += 16) {
    const __mmask16 some = first(half - d);
    const Vector c = load(cosine + d, some), s = load(sine + d, some);
    Vector a, b;
    if (shape.interleaved) {
      separate(load(x + 2 * d, first(2 * (half - d))), load(x + 2 * d + 16, first(2 * (half - d) - 16)), a, b);
    } else {
      a = load(x + d, some), b = load(x + half + d, some);
    }
    store(out + d, some, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
    store(out + half + d, some, _mm512_fmadd_ps(a, s, _mm512_mul_ps(b, c)));
  }
}

// The gradient of the turned dims, from that in halves order
template <class Number> inline void turn_back(const Shape& shape, const float* g, int64_t token, Number* out) {
  const int half = shape.turned / 2;
  const float *cosine = shape.cosine + token * half, *sine = shape.sine + token * half;
  for (int d = 0; d < half; d += 16) {
    const __mmask16 some = first(half - d);
    const Vector a = load(g + d, some), b = load(g + half + d, some), c = load(cosine + d, some), s = load(sine + d, some);
    const Vector x = _mm512_fmadd_ps(a, c, _mm512_mul_ps(b, s)), y = _mm512_fmsub_ps(b, c, _mm512_mul_ps(a, s));
    if (shape.interleaved) {
      Vector low, high;
      join(x, y, low, high);
      store(out + 2 * d, first(2 * (half - d)), low);
      store(out + 2 * d + 16, first(2 * (half - d) - 16), high);
    } else {
      store(out + d, some, x);
      store(out + half + d, some, y);
    }
  }
}

template <class Number> inline void copy(const float* x, int count, Number* out) {
  for (int d = 0; d < count; d += 16) store(out + d, first(count - d), load(x + d, first(count - d)));
}

// exp(scale x - offset) for the keys that query `query` may see, 0 for the other columns below `width`; returns the sum
inline float weigh(float* row, int query, int width, float scale, float offset) {
  const Vector by = _mm512_set1_ps(scale), minus = _mm512_set1_ps(offset);
  Vector sum = _mm512_setzero_ps();
  int j = 0;
  for (; j + 16 <= query + 1; j += 16) {
    const Vector e = exponential(_mm512_fmsub_ps(_mm512_loadu_ps(row + j), by, minus));
    _mm512_storeu_ps(row + j, e);
    sum = _mm512_add_ps(sum, e);
  }
  if (j <= query) {
    const Vector e = _mm512_maskz_mov_ps(first(query + 1 - j), exponential(_mm512_fmsub_ps(_mm512_loadu_ps(row + j), by, minus)));
    _mm512_storeu_ps(row + j, e);
    sum = _mm512_add_ps(sum, e);
    j += 16;
  }
  for (; j < width; j += 16) _mm512_storeu_ps(row + j, _mm512_setzero_ps());
  return _mm512_reduce_add_ps(sum);
}

inline float largest(const float* row, int count) {
  Vector best = _mm512_set1_ps(-INFINITY);
  int j = 0;
  for (; j + 16 <= count; j += 16) best = _mm512_max_ps(best, _mm512_loadu_ps(row + j));
  if (j < count) best = _mm512_mask_max_ps(best, first(count - j), best, _mm512_loadu_ps(row + j));
  return _mm512_reduce_max_ps(best);
}

// Rows of fp32 as rows of `Number`: in `room`, or where they are
inline bf16* as_rows(float* x, int rows, int columns, int width, bf16* room) {
  for (int r = 0; r < rows; r++)
    for (int j = 0; j < columns; j += 16) store(room + size_t(r) * width + j, load(x + size_t(r) * width + j));
  return room;
}
inline float* as_rows(float* x, int, int, int, float*) { return x; }

// A block's rows of fp32 as the left side of a product over its queries
template <class Number> Left across(const float* x, int columns, int width, uint32_t* room) {
  if constexpr (UNIT<Number> == 1) return {x, 1, width};
  for (int r = 0; r < BLOCK; r += 2)
    for (int j = 0; j < columns; j += 16) {
      const size_t at = size_t(r) * width + j;
      _mm512_storeu_si512(room + size_t(r / 2) * width + j, paired(narrow(load(x + at)), narrow(load(x + at + width))));
    }
  return {room, 1, width};
}

// ---- one family, whose first token is the `begin`th of all ----

// What its members go through one after the other. Rows of keys and values: the prefix, then the member.
struct Family {
  const int32_t* lengths;
  int parts;
  int prefix() const { return lengths[0]; }
  int longest() const { return parts > 1 ? *std::max_element(lengths + 1, lengths + parts) : 0; }
  int width() const { return int(round_up(prefix() + longest(), BLOCK)); }
  int tokens() const {
    int sum = 0;
    for (int i = 0; i < parts; i++) sum += lengths[i];
    return sum;
  }
};

// `count` keys and values of a head, from token `token` on, as rows from row `row` on
template <class Number>
void gather(const Shape& s, const Parts& in, int64_t begin, int token, int count, int row, int head, Number* keys, Number* values) {
  const int wide = s.wide(), value_wide = int(round_up(s.value, 16));
  for (int t = 0; t < count; t++) {
    turn(s, in.plain_key.of<Number>(token + t, head), in.turned_key.of<Number>(token + t, head), begin + token + t,
         keys + size_t(row + t) * wide);
    std::memcpy(values + size_t(row + t) * value_wide, in.value.of<Number>(token + t, head), sizeof(Number) * s.value);
  }
}

template <class Number>
void forward(const Shape& s, int64_t begin, const Family& family, const Parts& in, Number* out, float* log_sums) {
  const int dims = s.dims(), wide = s.wide(), width = family.width(), repeats = s.heads / s.kv_heads;
  const int value_wide = int(round_up(s.value, 16)), prefix = family.prefix();
  scratch.begin(size_t(width) * (wide * 12 + value_wide * 8) + size_t(BLOCK) * (width * 6 + value_wide * 4) + 1024);
  Number* key_rows = scratch.take<Number>(size_t(width) * wide);
  Number* value_rows = scratch.take<Number>(size_t(width) * value_wide);
  Number* turned = scratch.take<Number>(size_t(width) * wide);
  uint32_t* keys = scratch.take<uint32_t>(size_t(width) * dims / UNIT<Number>);
  uint32_t* values = scratch.take<uint32_t>(size_t(width) * value_wide / UNIT<Number>);
  float* scores = scratch.take<float>(size_t(BLOCK) * width);
  bf16* room = scratch.take<bf16>(size_t(BLOCK) * width);
  float* mixed = scratch.take<float>(size_t(BLOCK) * value_wide);
  for (int g = 0; g < s.kv_heads; g++) {
    gather(s, in, begin, 0, prefix, 0, g, key_rows, value_rows);
    for (int part = 0, token = 0; part < family.parts; token += family.lengths[part++]) {
      const int count = family.lengths[part], before = part ? prefix : 0;  // rows that all of its queries see
      if (part) gather(s, in, begin, token, count, prefix, g, key_rows, value_rows);
      units_of_dims(key_rows, wide, before + count, dims, width, keys);
      units_of_tokens(value_rows, value_wide, before + count, s.value, width, values);
      for (int h = g * repeats; h < (g + 1) * repeats; h++) {
        for (int t = 0; t < count; t++) {
          const Number* query = in.query.of<Number>(token + t, h);
          turn(s, query, query + s.plain, begin + token + t, turned + size_t(t) * wide);
        }
        for (int start = 0; start < count; start += BLOCK) {
          const int rows = std::min(BLOCK, count - start), seen = int(round_up(before + start + rows, 16));
          float inverse[BLOCK];
          product<Number, false>(rows, seen, dims / UNIT<Number>, Left::rows(turned + size_t(start) * wide, wide), keys, width,
                                 scores, width);
          for (int r = 0; r < rows; r++) {
            float* row = scores + size_t(r) * width;
            const int query = before + start + r;
            const float top = s.scale * largest(row, query + 1), sum = weigh(row, query, seen, s.scale, top);
            inverse[r] = 1.0f / sum;
            log_sums[size_t(token + start + r) * s.heads + h] = top + std::log(sum);
          }
          const Number* weights = as_rows(scores, rows, seen, width, reinterpret_cast<Number*>(room));
          product<Number, false>(rows, value_wide, seen / UNIT<Number>, Left::rows(weights, width), values, value_wide, mixed,
                                 value_wide);
          for (int r = 0; r < rows; r++) {
            Number* to = out + (size_t(token + start + r) * s.heads + h) * s.value;
            for (int d = 0; d < s.value; d += 16)
              store(to + d, first(s.value - d), _mm512_mul_ps(load(mixed + r * value_wide + d), _mm512_set1_ps(inverse[r])));
          }
        }
      }
    }
  }
}

template <class Number> struct Backward {  // scratch memory, and the loops that share it
  const Shape& s;
  const int64_t begin;
  const Family& family;
  const Parts &in, &made;
  const Number* out;
  const float* log_sums;
  const Number* grad;
  const int dims = s.dims(), wide = s.wide(), value_wide = int(round_up(s.value, 16)), width = family.width();
  const int64_t stride = int64_t(s.heads) * s.value;
  Number *key_rows, *value_rows, *turned;
  uint32_t *keys, *key_tokens, *values;
  float *sum_k, *sum_v, *shared;  // shared: the gradient of a key's part that all heads share, of all tokens
  float *scores, *slopes, *rows_q;
  bf16* slope_room;
  uint32_t *room, *queries;

  void take() {
    scratch.begin(size_t(width) * (wide * 24 + value_wide * 12) + size_t(family.tokens()) * s.turned * 4 +
                  size_t(BLOCK) * (width * 14 + wide * 8 + value_wide * 4) + 4096);
    key_rows = scratch.take<Number>(size_t(width) * wide);
    value_rows = scratch.take<Number>(size_t(width) * value_wide);
    turned = scratch.take<Number>(size_t(width) * wide);
    keys = scratch.take<uint32_t>(size_t(width) * dims / UNIT<Number>);
    key_tokens = scratch.take<uint32_t>(size_t(width) * wide / UNIT<Number>);
    values = scratch.take<uint32_t>(size_t(width) * s.value / UNIT<Number>);
    sum_k = scratch.take<float>(size_t(width) * wide);
    sum_v = scratch.take<float>(size_t(width) * value_wide);
    shared = scratch.take<float>(size_t(family.tokens()) * s.turned);
    scores = scratch.take<float>(size_t(BLOCK) * width);
    slopes = scratch.take<float>(size_t(BLOCK) * width);
    slope_room = scratch.take<bf16>(size_t(BLOCK) * width);
    room = scratch.take<uint32_t>(size_t(BLOCK / 2) * width);
    queries = scratch.take<uint32_t>(size_t(BLOCK) * std::max(wide, value_wide) / UNIT<Number>);
    rows_q = scratch.take<float>(size_t(BLOCK) * wide);
  }

  void run() {
    take();
    const int prefix = family.prefix(), repeats = s.heads / s.kv_heads;
    if (made.turned_key.head == 0) std::memset(shared, 0, sizeof(float) * family.tokens() * s.turned);
    for (int g = 0; g < s.kv_heads; g++) {
      gather(s, in, begin, 0, prefix, 0, g, key_rows, value_rows);
      clear(0, width);
      for (int part = 0, token = 0; part < family.parts; token += family.lengths[part++]) {
        const int count = family.lengths[part], before = part ? prefix : 0;
        if (part) {
          gather(s, in, begin, token, count, prefix, g, key_rows, value_rows);
          clear(prefix, width);
        }
        units_of_dims(key_rows, wide, before + count, dims, width, keys);
        units_of_tokens(key_rows, wide, before + count, dims, width, key_tokens);
        units_of_dims(value_rows, value_wide, before + count, s.value, width, values);
        for (int h = g * repeats; h < (g + 1) * repeats; h++) part_of_head(token, count, before, h);
        if (part) give(token, count, prefix, g);
      }
      give(0, prefix, 0, g);
    }
    if (made.turned_key.head == 0)
      for (int t = 0; t < family.tokens(); t++)
        turn_back(s, shared + size_t(t) * s.turned, begin + t, made.turned_key.of<Number>(t, 0));
  }

  void clear(int from, int to) {
    std::memset(sum_k + size_t(from) * wide, 0, sizeof(float) * (to - from) * wide);
    std::memset(sum_v + size_t(from) * value_wide, 0, sizeof(float) * (to - from) * value_wide);
  }

  // The sums of `count` rows from row `row` on, as the gradients of keys and values from token `token` on
  void give(int token, int count, int row, int g) {
    for (int t = 0; t < count; t++) {
      const float* of_key = sum_k + size_t(row + t) * wide;
      copy(sum_v + size_t(row + t) * value_wide, s.value, made.value.of<Number>(token + t, g));
      copy(of_key, s.plain, made.plain_key.of<Number>(token + t, g));
      if (made.turned_key.head)
        turn_back(s, of_key + s.plain, begin + token + t, made.turned_key.of<Number>(token + t, g));
      else
        for (int d = 0; d < s.turned; d++) shared[size_t(token + t) * s.turned + d] += of_key[s.plain + d];
    }
  }

  // The queries of one part and head: their gradients, and what they add to the sums of keys and values
  void part_of_head(int token, int count, int before, int h) {
    for (int t = 0; t < count; t++) {
      const Number* query = in.query.of<Number>(token + t, h);
      turn(s, query, query + s.plain, begin + token + t, turned + size_t(t) * wide);
    }
    for (int start = 0; start < count; start += BLOCK) {
      const int rows = std::min(BLOCK, count - start), seen = int(round_up(before + start + rows, 16));
      const Number *above = grad + (token + start) * stride + h * s.value, *turned_rows = turned + size_t(start) * wide;
      product<Number, false>(rows, seen, dims / UNIT<Number>, Left::rows(turned_rows, wide), keys, width, scores, width);
      product<Number, false>(rows, seen, s.value / UNIT<Number>, Left::rows(above, stride), values, width, slopes, width);
      for (int r = 0; r < rows; r++) slope_of(token + start + r, before + start + r, seen, h, r);
      for (int r = rows; r < BLOCK; r++)
        for (float* row : {scores + size_t(r) * width, slopes + size_t(r) * width}) std::memset(row, 0, sizeof(float) * seen);
      const Number* slope_rows = as_rows(slopes, rows, seen, width, reinterpret_cast<Number*>(slope_room));
      product<Number, false>(rows, wide, seen / UNIT<Number>, Left::rows(slope_rows, width), key_tokens, wide, rows_q, wide);
      for (int r = 0; r < rows; r++) {
        Number* to = made.query.of<Number>(token + start + r, h);
        copy(rows_q + r * wide, s.plain, to);
        turn_back(s, rows_q + r * wide + s.plain, begin + token + start + r, to + s.plain);
      }
      units_of_tokens(above, stride, rows, s.value, BLOCK, queries);
      product<Number, true>(seen, value_wide, BLOCK / UNIT<Number>, across<Number>(scores, seen, width, room), queries, value_wide,
                            sum_v, value_wide);
      units_of_tokens(turned_rows, wide, rows, dims, BLOCK, queries);
      product<Number, true>(seen, wide, BLOCK / UNIT<Number>, across<Number>(slopes, seen, width, room), queries, wide, sum_k, wide);
    }
  }

  // Row r of the scores becomes the weights of that query, which sees rows 0 … `query`; that of the slopes, its gradient
  void slope_of(int token, int query, int seen, int h, int r) {
    float *weight = scores + size_t(r) * width, *slope = slopes + size_t(r) * width;
    weigh(weight, query, seen, s.scale, log_sums[size_t(token) * s.heads + h]);
    const Number *o = out + token * stride + h * s.value, *above = grad + token * stride + h * s.value;
    Vector dot = _mm512_setzero_ps();
    for (int d = 0; d < s.value; d += 16) dot = _mm512_fmadd_ps(load(o + d, first(s.value - d)), load(above + d, first(s.value - d)), dot);
    const Vector delta = _mm512_set1_ps(_mm512_reduce_add_ps(dot)), by = _mm512_set1_ps(s.scale);
    for (int j = 0; j < seen; j += 16)
      store(slope + j, _mm512_mul_ps(_mm512_mul_ps(load(weight + j), by), _mm512_sub_ps(load(slope + j), delta)));
  }
};

template <class Number> void all_forward(const Shape& s, const Parts& in, Number* out, float* log_sums) {
  int64_t token = 0;
  const int32_t* lengths = s.lengths;
  for (int i = 0; i < s.families; lengths += s.parts[i++]) {
    const Family family{lengths, s.parts[i]};
    forward<Number>(s, token, family, in.from(token, sizeof(Number)), out + token * s.heads * s.value, log_sums + token * s.heads);
    token += family.tokens();
  }
}

template <class Number>
void all_backward(const Shape& s, const Parts& in, const Number* out, const float* log_sums, const Number* grad, const Parts& made) {
  int64_t token = 0;
  const int32_t* lengths = s.lengths;
  for (int i = 0; i < s.families; lengths += s.parts[i++]) {
    const Family family{lengths, s.parts[i]};
    const int64_t row = token * s.heads * s.value;
    const Parts here = in.from(token, sizeof(Number)), there = made.from(token, sizeof(Number));
    Backward<Number>{s, token, family, here, there, out + row, log_sums + token * s.heads, grad + row}.run();
    token += family.tokens();
  }
}

}  // namespace

// Causal attention within each of the families that stand end to end; queries and keys are turned to their positions here.
// out (tokens, heads, value) and log_sums (tokens, heads) are dense. All counts of dims are even.
EXPORT void ponder_attention_forward_bf16(const Shape* shape, const Parts* in, bf16* out, float* log_sums) {
  all_forward(*shape, *in, out, log_sums);
}
EXPORT void ponder_attention_forward_fp32(const Shape* shape, const Parts* in, float* out, float* log_sums) {
  all_forward(*shape, *in, out, log_sums);
}

// The gradients of all parts, into `made`, from that of `out`; `out` and `log_sums` are what the forward pass made.
EXPORT void ponder_attention_backward_bf16(const Shape* shape, const Parts* in, const bf16* out, const float* log_sums,
                                           const bf16* grad, const Parts* made) {
  all_backward(*shape, *in, out, log_sums, grad, *made);
}
EXPORT void ponder_attention_backward_fp32(const Shape* shape, const Parts* in, const float* out, const float* log_sums,
                                           const float* grad, const Parts* made) {
  all_backward(*shape, *in, out, log_sums, grad, *made);
}

#include "end_avx512.h"

#endif
