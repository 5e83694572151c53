// Causal attention over packed sequences of tens to hundreds of tokens, forward and backward, in bf16 and in fp32, for
// x86-64 with AVX-512 and its BF16 products. Grouped-query and latent attention are the same here: they differ in where
// the parts of a key stand. Each call works on the calling thread alone and keeps its scratch memory between calls.
#include <algorithm>
#include <cmath>
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

// ---- C (+)= A B of units: what one instruction multiplies at once, in 32 bits. C has rows of fp32 ----

template <class Number> constexpr int UNIT = 4 / sizeof(Number);  // numbers of a unit: two of bf16, one of fp32

template <class Number> inline Vector multiply_add(uint32_t unit, const uint32_t* units, Vector sum);
template <> inline Vector multiply_add<bf16>(uint32_t unit, const uint32_t* units, Vector sum) {
  return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(int32_t(unit)), (__m512bh)_mm512_loadu_si512(units));
}
template <> inline Vector multiply_add<float>(uint32_t unit, const uint32_t* units, Vector sum) {
  return _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_set1_epi32(int32_t(unit))), _mm512_castsi512_ps(_mm512_loadu_si512(units)), sum);
}

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
  for (int t = 0; t < length; t++) {
    const Number* row = x + t * stride;
    for (int d = 0; d < units; d++) std::memcpy(out + size_t(d) * width + t, row + UNIT<Number> * d, 4);
  }
  for (int d = 0; d < units; d++) std::memset(out + size_t(d) * width + length, 0, sizeof(uint32_t) * (width - length));
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
  int32_t count;  // sequences
  const int32_t* lengths;
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

// ---- one sequence, whose first token is the `begin`th of all ----

template <class Number> void forward(const Shape& s, int64_t begin, int length, const Parts& in, Number* out, float* log_sums) {
  const int dims = s.dims(), wide = s.wide(), width = int(round_up(length, BLOCK)), repeats = s.heads / s.kv_heads;
  const int value_wide = int(round_up(s.value, 16));
  scratch.begin(size_t(width) * (wide * 8 + value_wide * 4) + size_t(BLOCK) * (width * 6 + value_wide * 4) + 1024);
  Number* turned = scratch.take<Number>(size_t(width) * wide);
  uint32_t* keys = scratch.take<uint32_t>(size_t(width) * dims / UNIT<Number>);
  uint32_t* values = scratch.take<uint32_t>(size_t(width) * value_wide / UNIT<Number>);
  float* scores = scratch.take<float>(size_t(BLOCK) * width);
  bf16* room = scratch.take<bf16>(size_t(BLOCK) * width);
  float* mixed = scratch.take<float>(size_t(BLOCK) * value_wide);
  for (int g = 0; g < s.kv_heads; g++) {
    for (int t = 0; t < length; t++)
      turn(s, in.plain_key.of<Number>(t, g), in.turned_key.of<Number>(t, g), begin + t, turned + size_t(t) * wide);
    units_of_dims(turned, wide, length, dims, width, keys);
    units_of_tokens(in.value.of<Number>(0, g), in.value.token, length, s.value, width, values);
    for (int h = g * repeats; h < (g + 1) * repeats; h++) {
      for (int t = 0; t < length; t++) {
        const Number* query = in.query.of<Number>(t, h);
        turn(s, query, query + s.plain, begin + t, turned + size_t(t) * wide);
      }
      for (int start = 0; start < length; start += BLOCK) {
        const int rows = std::min(BLOCK, length - start), seen = start + BLOCK;
        float inverse[BLOCK];
        product<Number, false>(rows, seen, dims / UNIT<Number>, Left::rows(turned + size_t(start) * wide, wide), keys, width, scores, width);
        for (int r = 0; r < rows; r++) {
          float* row = scores + size_t(r) * width;
          const int query = start + r;
          const float top = s.scale * largest(row, query + 1), sum = weigh(row, query, seen, s.scale, top);
          inverse[r] = 1.0f / sum;
          log_sums[size_t(query) * s.heads + h] = top + std::log(sum);
        }
        const Number* weights = as_rows(scores, rows, seen, width, reinterpret_cast<Number*>(room));
        product<Number, false>(rows, value_wide, seen / UNIT<Number>, Left::rows(weights, width), values, value_wide, mixed, value_wide);
        for (int r = 0; r < rows; r++) {
          Number* to = out + (size_t(start + r) * s.heads + h) * s.value;
          for (int d = 0; d < s.value; d += 16)
            store(to + d, first(s.value - d), _mm512_mul_ps(load(mixed + r * value_wide + d), _mm512_set1_ps(inverse[r])));
        }
      }
    }
  }
}

template <class Number>
void backward(const Shape& s, int64_t begin, int length, const Parts& in, const Number* out, const float* log_sums,
              const Number* grad, const Parts& made) {
  const int dims = s.dims(), wide = s.wide(), width = int(round_up(length, BLOCK)), repeats = s.heads / s.kv_heads;
  const int value_wide = int(round_up(s.value, 16));
  const int64_t stride = int64_t(s.heads) * s.value;
  scratch.begin(size_t(width) * (wide * 24 + value_wide * 8) + size_t(BLOCK) * (width * 14 + wide * 8 + value_wide * 4) + 4096);
  Number* turned_keys = scratch.take<Number>(size_t(width) * wide);
  Number* turned = scratch.take<Number>(size_t(width) * wide);
  uint32_t* keys = scratch.take<uint32_t>(size_t(width) * dims / UNIT<Number>);
  uint32_t* key_tokens = scratch.take<uint32_t>(size_t(width) * wide / UNIT<Number>);
  uint32_t* values = scratch.take<uint32_t>(size_t(width) * s.value / UNIT<Number>);
  float* sum_k = scratch.take<float>(size_t(width) * wide);
  float* sum_v = scratch.take<float>(size_t(width) * value_wide);
  float* shared = scratch.take<float>(size_t(width) * s.turned);  // the gradient of a key's part that all heads share
  float* scores = scratch.take<float>(size_t(BLOCK) * width);
  float* slopes = scratch.take<float>(size_t(BLOCK) * width);
  bf16* slope_room = scratch.take<bf16>(size_t(BLOCK) * width);
  uint32_t* room = scratch.take<uint32_t>(size_t(BLOCK / 2) * width);
  uint32_t* queries = scratch.take<uint32_t>(size_t(BLOCK) * std::max(wide, value_wide) / UNIT<Number>);
  float* rows_q = scratch.take<float>(size_t(BLOCK) * wide);
  if (s.turned && made.turned_key.head == 0) std::memset(shared, 0, sizeof(float) * width * s.turned);
  for (int g = 0; g < s.kv_heads; g++) {
    for (int t = 0; t < length; t++)
      turn(s, in.plain_key.of<Number>(t, g), in.turned_key.of<Number>(t, g), begin + t, turned_keys + size_t(t) * wide);
    units_of_dims(turned_keys, wide, length, dims, width, keys);
    units_of_tokens(turned_keys, wide, length, dims, width, key_tokens);
    units_of_dims(in.value.of<Number>(0, g), in.value.token, length, s.value, width, values);
    std::memset(sum_k, 0, sizeof(float) * width * wide);
    std::memset(sum_v, 0, sizeof(float) * width * value_wide);
    for (int h = g * repeats; h < (g + 1) * repeats; h++) {
      for (int t = 0; t < length; t++) {
        const Number* query = in.query.of<Number>(t, h);
        turn(s, query, query + s.plain, begin + t, turned + size_t(t) * wide);
      }
      for (int start = 0; start < length; start += BLOCK) {
        const int rows = std::min(BLOCK, length - start), seen = start + BLOCK;
        const Number *above = grad + start * stride + h * s.value, *turned_rows = turned + size_t(start) * wide;
        product<Number, false>(rows, seen, dims / UNIT<Number>, Left::rows(turned_rows, wide), keys, width, scores, width);
        product<Number, false>(rows, seen, s.value / UNIT<Number>, Left::rows(above, stride), values, width, slopes, width);
        for (int r = 0; r < rows; r++) {
          float *weight = scores + size_t(r) * width, *slope = slopes + size_t(r) * width;
          const int query = start + r;
          weigh(weight, query, seen, s.scale, log_sums[size_t(query) * s.heads + h]);
          const Number *o = out + query * stride + h * s.value, *g_o = above + r * stride;
          Vector dot = _mm512_setzero_ps();
          for (int d = 0; d < s.value; d += 16)
            dot = _mm512_fmadd_ps(load(o + d, first(s.value - d)), load(g_o + d, first(s.value - d)), dot);
          const Vector delta = _mm512_set1_ps(_mm512_reduce_add_ps(dot)), by = _mm512_set1_ps(s.scale);
          for (int j = 0; j < seen; j += 16)
            store(slope + j, _mm512_mul_ps(_mm512_mul_ps(load(weight + j), by), _mm512_sub_ps(load(slope + j), delta)));
        }
        for (int r = rows; r < BLOCK; r++)
          for (float* row : {scores + size_t(r) * width, slopes + size_t(r) * width}) std::memset(row, 0, sizeof(float) * seen);
        const Number* slope_rows = as_rows(slopes, rows, seen, width, reinterpret_cast<Number*>(slope_room));
        product<Number, false>(rows, wide, seen / UNIT<Number>, Left::rows(slope_rows, width), key_tokens, wide, rows_q, wide);
        for (int r = 0; r < rows; r++) {
          Number* to = made.query.of<Number>(start + r, h);
          copy(rows_q + r * wide, s.plain, to);
          turn_back(s, rows_q + r * wide + s.plain, begin + start + r, to + s.plain);
        }
        units_of_tokens(above, stride, rows, s.value, BLOCK, queries);
        product<Number, true>(seen, value_wide, BLOCK / UNIT<Number>, across<Number>(scores, seen, width, room), queries, value_wide, sum_v, value_wide);
        units_of_tokens(turned_rows, wide, rows, dims, BLOCK, queries);
        product<Number, true>(seen, wide, BLOCK / UNIT<Number>, across<Number>(slopes, seen, width, room), queries, wide, sum_k, wide);
      }
    }
    for (int t = 0; t < length; t++) {
      const float* row = sum_k + size_t(t) * wide;
      copy(sum_v + size_t(t) * value_wide, s.value, made.value.of<Number>(t, g));
      copy(row, s.plain, made.plain_key.of<Number>(t, g));
      if (made.turned_key.head) turn_back(s, row + s.plain, begin + t, made.turned_key.of<Number>(t, g));
      else for (int d = 0; d < s.turned; d++) shared[size_t(t) * s.turned + d] += row[s.plain + d];
    }
  }
  if (s.turned && made.turned_key.head == 0)
    for (int t = 0; t < length; t++) turn_back(s, shared + size_t(t) * s.turned, begin + t, made.turned_key.of<Number>(t, 0));
}

template <class Number> void all_forward(const Shape& s, const Parts& in, Number* out, float* log_sums) {
  int64_t first_token = 0;
  for (int i = 0; i < s.count; first_token += s.lengths[i++])
    forward<Number>(s, first_token, s.lengths[i], in.from(first_token, sizeof(Number)), out + first_token * s.heads * s.value,
                    log_sums + first_token * s.heads);
}

template <class Number>
void all_backward(const Shape& s, const Parts& in, const Number* out, const float* log_sums, const Number* grad, const Parts& made) {
  int64_t first_token = 0;
  for (int i = 0; i < s.count; first_token += s.lengths[i++]) {
    const int64_t row = first_token * s.heads * s.value;
    backward<Number>(s, first_token, s.lengths[i], in.from(first_token, sizeof(Number)), out + row,
                     log_sums + first_token * s.heads, grad + row, made.from(first_token, sizeof(Number)));
  }
}

}  // namespace

// Causal attention within each of the sequences that stand end to end; queries and keys are turned to their positions here.
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

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
