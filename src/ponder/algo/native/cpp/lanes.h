// Vectors of 16 numbers: fp32 in registers, bf16 or fp32 in memory. Included within the pragmas that allow the instructions.
#pragma once

using bf16 = uint16_t;
using Vector = __m512;  // 16 numbers

inline Vector widen(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
inline __m256i narrow(Vector x) { return (__m256i)_mm512_cvtneps_pbh(x); }

inline __m256i load_bits(const bf16* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline __m256i load_bits(const bf16* p, __mmask16 some) { return _mm256_maskz_loadu_epi16(some, p); }
inline Vector load(const bf16* p) { return widen(load_bits(p)); }
inline Vector load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(bf16* p, Vector x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(x)); }
inline void store(float* p, Vector x) { _mm512_storeu_ps(p, x); }

// Some of 16 numbers; what is not loaded is 0
inline Vector load(const bf16* p, __mmask16 some) { return widen(load_bits(p, some)); }
inline Vector load(const float* p, __mmask16 some) { return _mm512_maskz_loadu_ps(some, p); }
inline void store(bf16* p, __mmask16 some, Vector x) { _mm256_mask_storeu_epi16(p, some, narrow(x)); }
inline void store(float* p, __mmask16 some, Vector x) { _mm512_mask_storeu_ps(p, some, x); }
inline __mmask16 first(int64_t count) {
  return count >= 16 ? __mmask16(0xffff) : __mmask16((1u << (count < 0 ? 0 : count)) - 1);
}

inline float to_float(float x) { return x; }
inline float to_float(bf16 x) {
  const uint32_t bits = uint32_t(x) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

// Two rows of 16 numbers as 16 pairs of 32 bits
inline __m512i paired(__m256i a, __m256i b) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}

template <class Number> constexpr int UNIT = 4 / sizeof(Number);  // numbers that an instruction multiplies at once, in 32 bits

// sum + the product of a unit and 16 units, one for each number of the sum
template <class Number> inline Vector multiply_add(uint32_t unit, const uint32_t* units, Vector sum);
template <> inline Vector multiply_add<bf16>(uint32_t unit, const uint32_t* units, Vector sum) {
  return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(int32_t(unit)), (__m512bh)_mm512_loadu_si512(units));
}
template <> inline Vector multiply_add<float>(uint32_t unit, const uint32_t* units, Vector sum) {
  return _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_set1_epi32(int32_t(unit))), _mm512_castsi512_ps(_mm512_loadu_si512(units)), sum);
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

// e^x to within 2 units in the last place; 0 below -87, and never infinite; NaN of NaN, which stands second for that
inline Vector exponential(Vector x) {
  x = _mm512_max_ps(_mm512_set1_ps(-104.0f), _mm512_min_ps(_mm512_set1_ps(88.0f), x));
  const Vector n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 0);
  Vector r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  Vector p = _mm512_set1_ps(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
  p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, _mm512_set1_ps(1.0f)));
  return _mm512_scalef_ps(p, n);
}

struct Scratch {  // memory of a thread that is kept between calls
  std::vector<char> room;
  size_t used = 0;
  void begin(size_t bytes) {
    if (room.size() < bytes + 64) room.resize(bytes + 64);
    used = (64 - (reinterpret_cast<uintptr_t>(room.data()) & 63)) & 63;
  }
  template <class T> T* take(size_t count) {
    T* p = reinterpret_cast<T*>(room.data() + used);
    used += (count * sizeof(T) + 63) / 64 * 64;
    return p;
  }
};

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
