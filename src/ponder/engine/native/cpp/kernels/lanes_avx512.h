// Sixteen lanes on AVX-512 with VNNI and BF16. No include guard: part of variant_avx512.cpp only.

struct Lanes { __m512 v; };      // 16 floats
struct Integers { __m512i v; };  // 16 int32
struct Bytes { __m512i v; };     // 64 bytes of a weight block

constexpr int kRegisters = 32;  // of one block each
constexpr int kRowTile = 6;
#define PONDER_UNROLL _Pragma("GCC unroll 8")

static inline Lanes splat(float x) { return {_mm512_set1_ps(x)}; }
static inline Lanes load(const float* p) { return {_mm512_loadu_ps(p)}; }
static inline void store(float* p, Lanes a) { _mm512_storeu_ps(p, a.v); }
static inline __mmask16 first_lanes(int n) { return n >= 16 ? __mmask16(0xffff) : __mmask16((1u << n) - 1); }
static inline void store_first(float* p, Lanes a, int n) { _mm512_mask_storeu_ps(p, first_lanes(n), a.v); }
static inline Lanes keep_first(Lanes a, int n, float other) {
  return {_mm512_mask_mov_ps(_mm512_set1_ps(other), first_lanes(n), a.v)};
}
static inline Lanes operator+(Lanes a, Lanes b) { return {_mm512_add_ps(a.v, b.v)}; }
static inline Lanes operator-(Lanes a, Lanes b) { return {_mm512_sub_ps(a.v, b.v)}; }
static inline Lanes operator*(Lanes a, Lanes b) { return {_mm512_mul_ps(a.v, b.v)}; }
static inline Lanes operator/(Lanes a, Lanes b) { return {_mm512_div_ps(a.v, b.v)}; }
static inline Lanes fma(Lanes a, Lanes b, Lanes c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
static inline Lanes largest(Lanes a, Lanes b) { return {_mm512_max_ps(a.v, b.v)}; }
static inline Lanes nearest(Lanes a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
static inline Lanes times_power(Lanes a, Lanes n) { return {_mm512_scalef_ps(a.v, n.v)}; }  // a · 2^n, n whole
static inline float sum(Lanes a) { return _mm512_reduce_add_ps(a.v); }
static inline float maximum(Lanes a) { return _mm512_reduce_max_ps(a.v); }
// Of both: found among the bits without their sign, whose order is that of the numbers, with NaN above infinity.
static inline float largest_magnitude(Lanes a, Lanes b) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  const __m512i x = _mm512_and_si512(_mm512_castps_si512(a.v), magnitude);
  const __m512i y = _mm512_and_si512(_mm512_castps_si512(b.v), magnitude);
  return float_of(uint32_t(_mm512_reduce_max_epi32(_mm512_max_epi32(x, y))));
}

static inline Lanes load_bf16(const uint16_t* p) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16))};
}
static inline void store_bf16(uint16_t* p, Lanes a) { _mm256_storeu_si256((__m256i*)p, (__m256i)_mm512_cvtneps_pbh(a.v)); }
static inline Lanes load_half(const uint16_t* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p))}; }

static inline Integers splat(int32_t x) { return {_mm512_set1_epi32(x)}; }
static inline Integers operator+(Integers a, Integers b) { return {_mm512_add_epi32(a.v, b.v)}; }
static inline Integers times_256(Integers a) { return {_mm512_slli_epi32(a.v, 8)}; }
static inline Lanes to_floats(Integers a) { return {_mm512_cvtepi32_ps(a.v)}; }
static inline int store_rounded(int8_t* p, Lanes a) {  // 16 rounded numbers of at most 127; returns their sum
  const __m512i q = _mm512_cvtps_epi32(a.v);
  _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8(q));
  return _mm512_reduce_add_epi32(q);
}

static inline Bytes load_bytes(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
static inline Bytes low_nibbles(Bytes a) { return {_mm512_and_si512(a.v, _mm512_set1_epi8(15))}; }
static inline Bytes high_nibbles(Bytes a) { return {_mm512_and_si512(_mm512_srli_epi16(a.v, 4), _mm512_set1_epi8(15))}; }
// Adds to each lane the products of its four unsigned bytes with the four signed bytes of x.
static inline Integers dot_bytes(Integers sums, Bytes w, int32_t x) {
  return {_mm512_dpbusd_epi32(sums.v, w.v, _mm512_set1_epi32(x))};
}
static inline Integers dot_nibbles(Integers sums, Bytes w, int32_t x) { return dot_bytes(sums, w, x); }
// Adds to each lane the products of its two bfloat16 with the two of x.
static inline Lanes dot_bf16(Lanes sums, Bytes w, uint32_t x) {
  return {_mm512_dpbf16_ps(sums.v, (__m512bh)w.v, (__m512bh)_mm512_set1_epi32(int(x)))};
}
static inline Lanes lower_bf16(Bytes a) { return {_mm512_castsi512_ps(_mm512_slli_epi32(a.v, 16))}; }
static inline Lanes upper_bf16(Bytes a) {
  return {_mm512_castsi512_ps(_mm512_and_si512(a.v, _mm512_set1_epi32(int(0xffff0000))))};
}
