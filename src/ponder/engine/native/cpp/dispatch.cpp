// Which variant this processor runs.
#include "variant.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace ponder {

#if defined(__x86_64__)
namespace {

struct Leaf {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Leaf cpuid(unsigned leaf, unsigned part) {
  Leaf r;
  __get_cpuid_count(leaf, part, &r.a, &r.b, &r.c, &r.d);
  return r;
}

uint64_t enabled_state() {  // which registers the system saves
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t(high) << 32 | low;
}

bool has(unsigned word, unsigned bits) { return (word & bits) == bits; }
constexpr unsigned bit(int index) { return 1u << index; }

}  // namespace

Variant best_variant() {
  const Leaf basic = cpuid(1, 0), extended = cpuid(7, 0), more = cpuid(7, 1);
  if (!has(basic.c, bit(27) | bit(28))) return Plain;  // OSXSAVE, AVX
  const uint64_t state = enabled_state();
  if ((state & 0x6) != 0x6) return Plain;
  if (!has(basic.c, bit(12) | bit(29)) || !has(extended.b, bit(5))) return Plain;  // FMA, F16C, AVX2
  const bool wide = has(extended.b, bit(16) | bit(17) | bit(30) | bit(31));          // AVX-512 F, DQ, BW, VL
  const bool products = has(extended.c, bit(11)) && has(more.a, bit(5));             // VNNI, BF16
  if (wide && products && (state & 0xe0) == 0xe0) return Avx512;
  return Avx2;
}
#else
Variant best_variant() { return Plain; }
#endif

}  // namespace ponder
