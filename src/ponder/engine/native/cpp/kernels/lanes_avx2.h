// Sixteen lanes on AVX2 with FMA and F16C. No include guard: part of variant_avx2.cpp only.

struct Lanes { __m256 a, b; };
struct Integers { __m256i a, b; };
struct Bytes { __m256i a, b; };

constexpr int kRegisters = 8;
constexpr int kRowTile = 6;
#define PONDER_UNROLL _Pragma("GCC unroll 8")

static inline Lanes splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
static inline Lanes load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
static inline void store(float* p, Lanes x) { _mm256_storeu_ps(p, x.a), _mm256_storeu_ps(p + 8, x.b); }
static inline __m256i first_eight(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline void store_first(float* p, Lanes x, int n) {
  _mm256_maskstore_ps(p, first_eight(n), x.a);
  if (n > 8) _mm256_maskstore_ps(p + 8, first_eight(n - 8), x.b);
}
static inline Lanes keep_first(Lanes x, int n, float other) {
  const __m256 o = _mm256_set1_ps(other);
  return {_mm256_blendv_ps(o, x.a, _mm256_castsi256_ps(first_eight(n))),
          _mm256_blendv_ps(o, x.b, _mm256_castsi256_ps(first_eight(n - 8)))};
}
static inline Lanes operator+(Lanes x, Lanes y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
static inline Lanes operator-(Lanes x, Lanes y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
static inline Lanes operator*(Lanes x, Lanes y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
static inline Lanes operator/(Lanes x, Lanes y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
static inline Lanes fma(Lanes x, Lanes y, Lanes z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
static inline Lanes largest(Lanes x, Lanes y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
static inline Lanes nearest(Lanes x) {
  return {_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
          _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
static inline __m256 power_of_two(__m256 n) {  // n whole, -126 to 127
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
static inline Lanes times_power(Lanes x, Lanes n) {
  return {_mm256_mul_ps(x.a, power_of_two(n.a)), _mm256_mul_ps(x.b, power_of_two(n.b))};
}
static inline float sum(Lanes x) {
  const __m256 s = _mm256_add_ps(x.a, x.b);
  __m128 h = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  h = _mm_add_ps(h, _mm_movehl_ps(h, h));
  return _mm_cvtss_f32(_mm_add_ss(h, _mm_movehdup_ps(h)));
}
static inline float maximum(Lanes x) {
  const __m256 s = _mm256_max_ps(x.a, x.b);
  __m128 h = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  h = _mm_max_ps(h, _mm_movehl_ps(h, h));
  return _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
}
// Of both: found among the bits without their sign, whose order is that of the numbers, with NaN above infinity.
static inline __m256i magnitude(__m256 x) {
  return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff));
}
static inline float largest_magnitude(Lanes x, Lanes y) {
  const __m256i s = _mm256_max_epi32(_mm256_max_epi32(magnitude(x.a), magnitude(x.b)),
                                     _mm256_max_epi32(magnitude(y.a), magnitude(y.b)));
  __m128i h = _mm_max_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
  h = _mm_max_epi32(h, _mm_shuffle_epi32(h, 0x4e));
  h = _mm_max_epi32(h, _mm_shuffle_epi32(h, 0xb1));
  return _mm_cvtss_f32(_mm_castsi128_ps(h));
}

static inline __m256 eight_bf16(const uint16_t* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16));
}
static inline Lanes load_bf16(const uint16_t* p) { return {eight_bf16(p), eight_bf16(p + 8)}; }
static inline void store_bf16(uint16_t* p, Lanes x) {
  alignas(32) float numbers[16];
  store(numbers, x);
  for (int i = 0; i < 16; ++i) p[i] = to_bf16(numbers[i]);
}
static inline Lanes load_half(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(p + 8)))};
}

static inline Integers splat(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
static inline Integers operator+(Integers x, Integers y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
static inline Integers times_256(Integers x) { return {_mm256_slli_epi32(x.a, 8), _mm256_slli_epi32(x.b, 8)}; }
static inline Lanes to_floats(Integers x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
static inline int store_rounded(int8_t* p, Lanes x) {
  alignas(32) int32_t q[16];
  _mm256_store_si256((__m256i*)q, _mm256_cvtps_epi32(x.a));
  _mm256_store_si256((__m256i*)(q + 8), _mm256_cvtps_epi32(x.b));
  int total = 0;
  for (int i = 0; i < 16; ++i) p[i] = int8_t(q[i]), total += q[i];
  return total;
}

static inline Bytes load_bytes(const uint8_t* p) {
  return {_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)(p + 32))};
}
static inline Bytes low_nibbles(Bytes x) {
  const __m256i mask = _mm256_set1_epi8(15);
  return {_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask)};
}
static inline Bytes high_nibbles(Bytes x) {
  const __m256i mask = _mm256_set1_epi8(15);
  return {_mm256_and_si256(_mm256_srli_epi16(x.a, 4), mask), _mm256_and_si256(_mm256_srli_epi16(x.b, 4), mask)};
}
// The pairwise 16-bit sums of unsigned × signed bytes could overflow: bytes are split into a part below 128 and the
// top bit, whose product fits by itself.
static inline __m256i dot_eight(__m256i sums, __m256i w, __m256i x) {
  const __m256i ones = _mm256_set1_epi16(1), top = _mm256_set1_epi8(int8_t(0x80));
  const __m256i low = _mm256_maddubs_epi16(_mm256_andnot_si256(top, w), x);
  const __m256i high = _mm256_maddubs_epi16(_mm256_and_si256(top, w), x);
  return _mm256_add_epi32(sums, _mm256_add_epi32(_mm256_madd_epi16(low, ones), _mm256_madd_epi16(high, ones)));
}
static inline __m256i dot_eight_small(__m256i sums, __m256i w, __m256i x) {
  return _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)));
}
static inline Integers dot_bytes(Integers sums, Bytes w, int32_t x) {
  const __m256i four = _mm256_set1_epi32(x);
  return {dot_eight(sums.a, w.a, four), dot_eight(sums.b, w.b, four)};
}
static inline Integers dot_nibbles(Integers sums, Bytes w, int32_t x) {
  const __m256i four = _mm256_set1_epi32(x);
  return {dot_eight_small(sums.a, w.a, four), dot_eight_small(sums.b, w.b, four)};
}
static inline __m256 lower_eight(__m256i x) { return _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)); }
static inline __m256 upper_eight(__m256i x) {
  return _mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32(int(0xffff0000))));
}
static inline Lanes lower_bf16(Bytes x) { return {lower_eight(x.a), lower_eight(x.b)}; }
static inline Lanes upper_bf16(Bytes x) { return {upper_eight(x.a), upper_eight(x.b)}; }
static inline Lanes dot_bf16(Lanes sums, Bytes w, uint32_t x) {
  const Lanes first = splat(float_of(x << 16)), second = splat(float_of(x & 0xffff0000));
  return fma(upper_bf16(w), second, fma(lower_bf16(w), first, sums));
}
