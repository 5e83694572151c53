// Sixteen lanes as compiler vectors, which any target lowers to what it has (SSE2, NEON). No include guard: part of
// variant_plain.cpp only.

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"  // these vectors are passed between inlined functions only
#endif

typedef float Floats16 __attribute__((vector_size(64)));
typedef int32_t Ints16 __attribute__((vector_size(64)));
typedef int32_t Ints4 __attribute__((vector_size(16)));
typedef uint32_t Words16 __attribute__((vector_size(64)));

struct Lanes { Floats16 v; };
struct Integers { Ints16 v; };
struct Bytes { Words16 v; };  // 64 bytes of a weight block, four to a lane

constexpr int kRegisters = 8;
constexpr int kRowTile = 4;
#define PONDER_UNROLL

static inline Lanes splat(float x) { return {Floats16{} + x}; }
static inline Lanes load(const float* p) {
  Lanes r;
  std::memcpy(&r.v, p, 64);
  return r;
}
static inline void store(float* p, const Lanes& a) { std::memcpy(p, &a.v, 64); }
static inline void store_first(float* p, const Lanes& a, int n) {
  for (int i = 0; i < n && i < 16; ++i) p[i] = a.v[i];
}
static inline Lanes keep_first(const Lanes& a, int n, float other) {
  Lanes r = splat(other);
  for (int i = 0; i < n && i < 16; ++i) r.v[i] = a.v[i];
  return r;
}
static inline Lanes operator+(const Lanes& a, const Lanes& b) { return {a.v + b.v}; }
static inline Lanes operator-(const Lanes& a, const Lanes& b) { return {a.v - b.v}; }
static inline Lanes operator*(const Lanes& a, const Lanes& b) { return {a.v * b.v}; }
static inline Lanes operator/(const Lanes& a, const Lanes& b) { return {a.v / b.v}; }
static inline Lanes fma(const Lanes& a, const Lanes& b, const Lanes& c) { return {a.v * b.v + c.v}; }
static inline Lanes largest(const Lanes& a, const Lanes& b) {
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
  return r;
}
static inline Lanes nearest(const Lanes& a) { return {(a.v + 12582912.0f) - 12582912.0f}; }  // below 2^22
static inline Lanes times_power(const Lanes& a, const Lanes& n) {
  return {a.v * (Floats16)((__builtin_convertvector(n.v, Ints16) + 127) << 23)};
}
static inline float sum(const Lanes& a) {
  float total = 0.0f;
  for (int i = 0; i < 16; ++i) total += a.v[i];
  return total;
}
static inline float maximum(const Lanes& a) {
  float most = a.v[0];
  for (int i = 1; i < 16; ++i) most = a.v[i] > most ? a.v[i] : most;
  return most;
}
// Of both: found among the bits without their sign, whose order is that of the numbers, with NaN above infinity.
static inline float largest_magnitude(const Lanes& a, const Lanes& b) {
  const Words16 both[2] = {(Words16)a.v & 0x7fffffffu, (Words16)b.v & 0x7fffffffu};
  Ints4 most[8];
  std::memcpy(most, both, sizeof most);
  for (int half = 4; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) {
      const Ints4 larger = most[i] > most[i + half];
      most[i] = (most[i] & larger) | (most[i + half] & ~larger);
    }
  int32_t bits = most[0][0];
  for (int i = 1; i < 4; ++i) bits = most[0][i] > bits ? most[0][i] : bits;
  return float_of(uint32_t(bits));
}

static inline Lanes load_bf16(const uint16_t* p) {
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = from_bf16(p[i]);
  return r;
}
static inline void store_bf16(uint16_t* p, const Lanes& a) {
  for (int i = 0; i < 16; ++i) p[i] = to_bf16(a.v[i]);
}
static inline Lanes load_half(const uint16_t* p) {
  Lanes r;
  for (int i = 0; i < 16; ++i) r.v[i] = from_half(p[i]);
  return r;
}

static inline Integers splat(int32_t x) { return {Ints16{} + x}; }
static inline Integers operator+(const Integers& a, const Integers& b) { return {a.v + b.v}; }
static inline Integers times_256(const Integers& a) { return {a.v * 256}; }
static inline Lanes to_floats(const Integers& a) { return {__builtin_convertvector(a.v, Floats16)}; }
static inline int store_rounded(int8_t* p, const Lanes& a) {
  const Lanes whole = nearest(a);
  int total = 0;
  for (int i = 0; i < 16; ++i) p[i] = int8_t(whole.v[i]), total += int(whole.v[i]);
  return total;
}

static inline Bytes load_bytes(const uint8_t* p) {
  Bytes r;
  std::memcpy(&r.v, p, 64);
  return r;
}
static inline Bytes low_nibbles(const Bytes& a) { return {a.v & 0x0f0f0f0fu}; }
static inline Bytes high_nibbles(const Bytes& a) { return {(a.v >> 4) & 0x0f0f0f0fu}; }
// Adds to each lane the products of its four unsigned bytes with the four signed bytes of x.
static inline Integers dot_bytes(const Integers& sums, const Bytes& w, int32_t x) {
  Integers r = sums;
  for (int j = 0; j < 4; ++j) {
    int8_t byte;
    std::memcpy(&byte, reinterpret_cast<const char*>(&x) + j, 1);
    r.v += (Ints16)((w.v >> (8 * j)) & 255u) * int32_t(byte);
  }
  return r;
}
static inline Integers dot_nibbles(const Integers& sums, const Bytes& w, int32_t x) { return dot_bytes(sums, w, x); }
static inline Lanes lower_bf16(const Bytes& a) { return {(Floats16)(a.v << 16)}; }
static inline Lanes upper_bf16(const Bytes& a) { return {(Floats16)(a.v & 0xffff0000u)}; }
static inline Lanes dot_bf16(const Lanes& sums, const Bytes& w, uint32_t x) {
  const Lanes first = splat(float_of(x << 16)), second = splat(float_of(x & 0xffff0000));
  return fma(upper_bf16(w), second, fma(lower_bf16(w), first, sums));
}
