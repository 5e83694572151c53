// Single numbers: bfloat16 and float16 to and from float, and a uniform one.
#pragma once

#include <cstdint>
#include <cstring>

namespace ponder {

static inline uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

static inline float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

static inline float from_bf16(uint16_t value) { return float_of(uint32_t(value) << 16); }

static inline uint16_t to_bf16(float value) {  // to nearest, ties to even; a NaN stays one
  uint32_t bits = bits_of(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t((bits >> 16) | 64);
  return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static inline float from_half(uint16_t value) {
  const uint32_t sign = uint32_t(value & 0x8000) << 16;
  const uint32_t magnitude = value & 0x7fff;
  if (magnitude >= 0x7c00) return float_of(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
  // as a float with the exponent of 2^-112 too little; the product repairs it, subnormal numbers included
  return float_of(sign | bits_of(float_of(magnitude << 13) * 0x1p112f));
}

static inline uint16_t to_half(float value) {  // to nearest, ties to even
  const uint32_t bits = bits_of(value);
  const uint16_t sign = uint16_t((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;  // 65520 and more rounds to infinity
  if (magnitude < 0x38800000) {                        // below 2^-14: a multiple of 2^-24
    const float shifted = float_of(magnitude) + 0.5f;  // 0.5 has an ulp of 2^-24 in this range
    return sign | uint16_t(bits_of(shifted) - bits_of(0.5f));
  }
  const uint32_t rounded = magnitude + 0xfff + ((magnitude >> 13) & 1) - (112u << 23);
  return sign | uint16_t(rounded >> 13);
}

// A uniform number in (0, 1) for a seed and a counter: SplitMix64, as in algo/sampling.py.
static inline float counter_uniform(int64_t seed, int64_t counter) {
  uint64_t z = uint64_t(seed) + uint64_t(counter + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  const float uniform = float((z >> 40) & 0xFFFFFF) * 0x1p-24f + 0x1p-25f;
  const float most = 1.0f - 0x1p-24f;
  return uniform < most ? uniform : most;
}

}  // namespace ponder
