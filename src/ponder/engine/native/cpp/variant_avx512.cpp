// x86-64 with AVX-512 F, BW, DQ, VL, VNNI and BF16.
#include "variant.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c")
#endif

namespace ponder {
namespace avx512 {
#include "kernels/lanes_avx512.h"
#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/attention.h"
#include "kernels/route.h"
#include "kernels/sampler.h"
#include "kernels/walker.h"
#include "kernels/grouped_attention.h"
#include "kernels/latent_attention.h"
#include "kernels/mixture.h"
#include "kernels/step.h"
}  // namespace avx512
}  // namespace ponder

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#else

namespace ponder {
namespace avx512 {  // never chosen there
void step_rows(Run&, const Team&) {}
void sample_rows(const Samples&, const Team&) {}
}  // namespace avx512
}  // namespace ponder

#endif
