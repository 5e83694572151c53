// Forward and backward passes of the small parts of a transformer in bf16 and in fp32, for x86-64 with AVX-512 and its
// BF16 products: what PyTorch does in many passes over memory is done in one or two. Every function works on the calling
// thread alone.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "export.h"

#if defined(__x86_64__)
#include <cpuid.h>

namespace {

bool has(unsigned word, unsigned bits) { return (word & bits) == bits; }
constexpr unsigned bit(int index) { return 1u << index; }

bool supported() {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(1, 0, &a, &b, &c, &d) || !has(c, bit(27) | bit(28) | bit(12))) return false;  // OSXSAVE, AVX, FMA
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & 0xe6) != 0xe6) return false;  // the system saves the wide registers
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has(b, bit(5) | bit(16) | bit(17) | bit(30) | bit(31))) return false;
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return false;
  return has(a, bit(5));  // BF16
}

}  // namespace

#include "begin_avx512.h"

namespace {

#include "lanes.h"

inline Vector reciprocal(Vector x) { return _mm512_div_ps(_mm512_set1_ps(1.0f), x); }
inline Vector sigmoid(Vector x) {
  return reciprocal(_mm512_add_ps(_mm512_set1_ps(1.0f), exponential(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

// y = x / sqrt(mean(x²) + eps) · weight for rows of `size` (a multiple of 16); `inverse` gets each row's 1 / sqrt(…)
template <class Number>
void norm_forward(int64_t rows, int size, float eps, const Number* x, const float* weight, Number* y, float* inverse) {
  for (int64_t t = 0; t < rows; t++) {
    const Number* row = x + t * size;
    Vector squares = _mm512_setzero_ps();
    for (int d = 0; d < size; d += 16) {
      const Vector a = load(row + d);
      squares = _mm512_fmadd_ps(a, a, squares);
    }
    inverse[t] = 1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / size + eps);
    const Vector by = _mm512_set1_ps(inverse[t]);
    for (int d = 0; d < size; d += 16)
      store(y + t * size + d, _mm512_mul_ps(_mm512_mul_ps(load(row + d), by), _mm512_loadu_ps(weight + d)));
  }
}

// grad_x, and grad_weight (set, not added to)
template <class Number>
void norm_backward(int64_t rows, int size, const Number* x, const float* weight, const float* inverse,
                   const Number* grad, Number* grad_x, float* grad_weight) {
  std::memset(grad_weight, 0, sizeof(float) * size);
  for (int64_t t = 0; t < rows; t++) {
    const Number *row = x + t * size, *above = grad + t * size;
    Vector dot = _mm512_setzero_ps();
    const Vector by = _mm512_set1_ps(inverse[t]);
    for (int d = 0; d < size; d += 16) {
      const Vector a = load(row + d), g = load(above + d);
      dot = _mm512_fmadd_ps(_mm512_mul_ps(a, g), _mm512_loadu_ps(weight + d), dot);
      _mm512_storeu_ps(grad_weight + d, _mm512_fmadd_ps(_mm512_mul_ps(a, by), g, _mm512_loadu_ps(grad_weight + d)));
    }
    const Vector pull = _mm512_set1_ps(_mm512_reduce_add_ps(dot) * inverse[t] * inverse[t] / size);
    for (int d = 0; d < size; d += 16) {
      const Vector gw = _mm512_mul_ps(load(above + d), _mm512_loadu_ps(weight + d));
      store(grad_x + t * size + d, _mm512_mul_ps(by, _mm512_fnmadd_ps(load(row + d), pull, gw)));
    }
  }
}

// y = silu(gate) · up for rows of gate and up side by side, `size` (a multiple of 16) each
template <class Number> void swiglu_forward(int64_t rows, int size, const Number* x, Number* y) {
  for (int64_t t = 0; t < rows; t++)
    for (int d = 0; d < size; d += 16) {
      const Vector gate = load(x + t * 2 * size + d), up = load(x + t * 2 * size + size + d);
      store(y + t * size + d, _mm512_mul_ps(_mm512_mul_ps(gate, sigmoid(gate)), up));
    }
}

template <class Number> void swiglu_backward(int64_t rows, int size, const Number* x, const Number* grad, Number* grad_x) {
  const Vector one = _mm512_set1_ps(1.0f);
  for (int64_t t = 0; t < rows; t++)
    for (int d = 0; d < size; d += 16) {
      const Vector gate = load(x + t * 2 * size + d), up = load(x + t * 2 * size + size + d), g = load(grad + t * size + d);
      const Vector s = sigmoid(gate), silu = _mm512_mul_ps(gate, s);
      const Vector slope = _mm512_mul_ps(s, _mm512_fmadd_ps(gate, _mm512_sub_ps(one, s), one));
      store(grad_x + t * 2 * size + d, _mm512_mul_ps(_mm512_mul_ps(g, up), slope));
      store(grad_x + t * 2 * size + size + d, _mm512_mul_ps(g, silu));
    }
}

// The largest of a row of logits, and Σ exp of what they lie above or below it.
struct Mass {
  float top, sum;
  float log_sum() const { return top + std::log(sum); }
};
template <class Number>
Mass mass_of(int64_t size, const Number* row) {
  const int64_t whole = size / 16 * 16;
  const __mmask16 rest = first(size - whole);
  const Vector tail = _mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY), rest, load(row + whole, rest));
  Vector best = tail;
  for (int64_t j = 0; j < whole; j += 16) best = _mm512_max_ps(best, load(row + j));
  const float top = _mm512_reduce_max_ps(best);
  const Vector minus = _mm512_set1_ps(top);
  Vector sums = _mm512_maskz_mov_ps(rest, exponential(_mm512_sub_ps(tail, minus)));
  for (int64_t j = 0; j < whole; j += 16) sums = _mm512_add_ps(sums, exponential(_mm512_sub_ps(load(row + j), minus)));
  return {top, _mm512_reduce_add_ps(sums)};
}

// For rows of logits, in place: weight · (softmax - one-hot), the gradient of weight · Σ -log p(id). Returns Σ -log p(id).
// `mass` gets the sum of |softmax - one-hot| of each column.
template <class Number>
double cross_entropy(int64_t rows, int64_t size, float weight, const int64_t* ids, Number* logits, float* mass) {
  std::memset(mass, 0, sizeof(float) * size);
  double total = 0.0;
  const int64_t whole = size / 16 * 16;
  const __mmask16 rest = first(size - whole);
  for (int64_t t = 0; t < rows; t++) {
    Number* row = logits + t * size;
    const Mass all = mass_of(size, row);
    const Vector minus = _mm512_set1_ps(all.top), tail = load(row + whole, rest);
    const float log_sum = all.log_sum(), own = to_float(row[ids[t]]);
    total += double(log_sum) - double(own);
    const Vector share = _mm512_set1_ps(1.0f / all.sum), by = _mm512_set1_ps(weight);
    for (int64_t j = 0; j < whole; j += 16) {
      const Vector p = _mm512_mul_ps(exponential(_mm512_sub_ps(load(row + j), minus)), share);
      _mm512_storeu_ps(mass + j, _mm512_add_ps(_mm512_loadu_ps(mass + j), p));
      store(row + j, _mm512_mul_ps(p, by));
    }
    const Vector p = _mm512_maskz_mul_ps(rest, exponential(_mm512_sub_ps(tail, minus)), share);
    _mm512_mask_storeu_ps(mass + whole, rest, _mm512_add_ps(_mm512_maskz_loadu_ps(rest, mass + whole), p));
    store(row + whole, rest, _mm512_mul_ps(p, by));
    const float chance = std::exp(own - log_sum);
    mass[ids[t]] += 1.0f - 2.0f * chance;
    store(row + ids[t], first(1), _mm512_set1_ps(weight * (chance - 1.0f)));
  }
  return total;
}

// For rows of logits, in place: weight · (q - p), the gradient of weight · Σ KL(p‖q), where q is the softmax of `logits`
// and p that of `others`. Returns Σ KL(p‖q). `mass` gets the sum of |q - p| of each column.
template <class Number>
double divergence(int64_t rows, int64_t size, float weight, const Number* others, Number* logits, float* mass) {
  std::memset(mass, 0, sizeof(float) * size);
  const Vector by = _mm512_set1_ps(weight);
  double total = 0.0;
  for (int64_t t = 0; t < rows; t++) {
    Number* row = logits + t * size;
    const Number* other = others + t * size;
    const Vector log_q = _mm512_set1_ps(mass_of(size, row).log_sum());
    const Vector log_p = _mm512_set1_ps(mass_of(size, other).log_sum());
    Vector sums = _mm512_setzero_ps();
    for (int64_t j = 0; j < size; j += 16) {
      const __mmask16 some = first(size - j);
      const Vector lq = _mm512_sub_ps(load(row + j, some), log_q), lp = _mm512_sub_ps(load(other + j, some), log_p);
      const Vector p = _mm512_maskz_mov_ps(some, exponential(lp));
      const Vector gap = _mm512_sub_ps(_mm512_maskz_mov_ps(some, exponential(lq)), p);
      sums = _mm512_fmadd_ps(p, _mm512_sub_ps(lp, lq), sums);
      _mm512_mask_storeu_ps(mass + j, some, _mm512_add_ps(_mm512_maskz_loadu_ps(some, mass + j), _mm512_abs_ps(gap)));
      store(row + j, some, _mm512_mul_ps(gap, by));
    }
    total += _mm512_reduce_add_ps(sums);
  }
  return total;
}

// For rows of logits, which stay as they are: log p(id), entropy and log Σ exp of logits · `inverse_temperature`.
template <class Number>
void score_forward(int64_t rows, int64_t size, float inverse_temperature, const int64_t* ids, const Number* logits,
                   float* logps, float* entropies, float* log_sums) {
  const int64_t whole = size / 16 * 16;
  const __mmask16 rest = first(size - whole);
  const Vector by = _mm512_set1_ps(inverse_temperature);
  for (int64_t t = 0; t < rows; t++) {
    const Number* row = logits + t * size;
    const Vector tail = load(row + whole, rest);
    Vector best = _mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY), rest, tail);
    for (int64_t j = 0; j < whole; j += 16) best = _mm512_max_ps(best, load(row + j));
    const float top = _mm512_reduce_max_ps(best);
    const Vector minus = _mm512_set1_ps(top);
    Vector shifted = _mm512_mul_ps(_mm512_sub_ps(tail, minus), by);
    Vector sums = _mm512_maskz_mov_ps(rest, exponential(shifted)), weighted = _mm512_mul_ps(sums, shifted);
    for (int64_t j = 0; j < whole; j += 16) {
      shifted = _mm512_mul_ps(_mm512_sub_ps(load(row + j), minus), by);
      const Vector e = exponential(shifted);
      sums = _mm512_add_ps(sums, e);
      weighted = _mm512_fmadd_ps(e, shifted, weighted);
    }
    const float sum = _mm512_reduce_add_ps(sums), log_sum = std::log(sum);
    log_sums[t] = top * inverse_temperature + log_sum;
    logps[t] = (to_float(row[ids[t]]) - top) * inverse_temperature - log_sum;
    entropies[t] = log_sum - _mm512_reduce_add_ps(weighted) / sum;
  }
}

// In place of the logits: their gradient from that of the rows' log p(id). `mass` as in `ponder_cross_entropy`.
template <class Number>
void score_backward(int64_t rows, int64_t size, float inverse_temperature, const int64_t* ids, const float* log_sums,
                    const float* grads, Number* logits, float* mass) {
  std::memset(mass, 0, sizeof(float) * size);
  const int64_t whole = size / 16 * 16;
  const __mmask16 rest = first(size - whole);
  const Vector by = _mm512_set1_ps(inverse_temperature);
  for (int64_t t = 0; t < rows; t++) {
    Number* row = logits + t * size;
    const float slope = -grads[t] * inverse_temperature, own = to_float(row[ids[t]]) * inverse_temperature;
    const Vector minus = _mm512_set1_ps(log_sums[t]), times = _mm512_set1_ps(slope);
    const Vector weight = _mm512_set1_ps(std::fabs(slope));
    for (int64_t j = 0; j < whole; j += 16) {
      const Vector p = exponential(_mm512_fmsub_ps(load(row + j), by, minus));
      _mm512_storeu_ps(mass + j, _mm512_fmadd_ps(p, weight, _mm512_loadu_ps(mass + j)));
      store(row + j, _mm512_mul_ps(p, times));
    }
    const Vector tail = load(row + whole, rest);
    const Vector p = _mm512_maskz_mov_ps(rest, exponential(_mm512_fmsub_ps(tail, by, minus)));
    _mm512_mask_storeu_ps(mass + whole, rest, _mm512_fmadd_ps(p, weight, _mm512_maskz_loadu_ps(rest, mass + whole)));
    store(row + whole, rest, _mm512_mul_ps(p, times));
    const float chance = std::exp(own - log_sums[t]);
    mass[ids[t]] += std::fabs(slope) * (1.0f - 2.0f * chance);
    store(row + ids[t], first(1), _mm512_set1_ps(slope * (chance - 1.0f)));
  }
}

}  // namespace

EXPORT void ponder_norm_forward_bf16(int64_t rows, int size, float eps, const bf16* x, const float* weight, bf16* y,
                                     float* inverse) {
  norm_forward(rows, size, eps, x, weight, y, inverse);
}
EXPORT void ponder_norm_forward_fp32(int64_t rows, int size, float eps, const float* x, const float* weight, float* y,
                                     float* inverse) {
  norm_forward(rows, size, eps, x, weight, y, inverse);
}

EXPORT void ponder_norm_backward_bf16(int64_t rows, int size, const bf16* x, const float* weight, const float* inverse,
                                      const bf16* grad, bf16* grad_x, float* grad_weight) {
  norm_backward(rows, size, x, weight, inverse, grad, grad_x, grad_weight);
}
EXPORT void ponder_norm_backward_fp32(int64_t rows, int size, const float* x, const float* weight, const float* inverse,
                                      const float* grad, float* grad_x, float* grad_weight) {
  norm_backward(rows, size, x, weight, inverse, grad, grad_x, grad_weight);
}

EXPORT void ponder_swiglu_forward_bf16(int64_t rows, int size, const bf16* x, bf16* y) {
  swiglu_forward(rows, size, x, y);
}
EXPORT void ponder_swiglu_forward_fp32(int64_t rows, int size, const float* x, float* y) {
  swiglu_forward(rows, size, x, y);
}

EXPORT void ponder_swiglu_backward_bf16(int64_t rows, int size, const bf16* x, const bf16* grad, bf16* grad_x) {
  swiglu_backward(rows, size, x, grad, grad_x);
}
EXPORT void ponder_swiglu_backward_fp32(int64_t rows, int size, const float* x, const float* grad, float* grad_x) {
  swiglu_backward(rows, size, x, grad, grad_x);
}

EXPORT double ponder_cross_entropy_bf16(int64_t rows, int64_t size, float weight, const int64_t* ids, bf16* logits,
                                        float* mass) {
  return cross_entropy(rows, size, weight, ids, logits, mass);
}
EXPORT double ponder_cross_entropy_fp32(int64_t rows, int64_t size, float weight, const int64_t* ids, float* logits,
                                        float* mass) {
  return cross_entropy(rows, size, weight, ids, logits, mass);
}

EXPORT double ponder_divergence_bf16(int64_t rows, int64_t size, float weight, const bf16* others, bf16* logits,
                                     float* mass) {
  return divergence(rows, size, weight, others, logits, mass);
}
EXPORT double ponder_divergence_fp32(int64_t rows, int64_t size, float weight, const float* others, float* logits,
                                     float* mass) {
  return divergence(rows, size, weight, others, logits, mass);
}

// fp32 to bf16 with a constant threshold for each place (algo/rounding.py)
EXPORT void ponder_round_dithered(int64_t count, const float* x, bf16* out) {
  const __m512i places = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 some = first(count - i);
    __m512i h = _mm512_mullo_epi32(_mm512_add_epi32(_mm512_set1_epi32(int32_t(uint32_t(i))), places), _mm512_set1_epi32(int32_t(0x9e3779b1u)));
    h = _mm512_mullo_epi32(_mm512_xor_si512(h, _mm512_srli_epi32(h, 15)), _mm512_set1_epi32(int32_t(0x85ebca77u)));
    h = _mm512_and_si512(_mm512_srli_epi32(_mm512_xor_si512(h, _mm512_srli_epi32(h, 13)), 8), _mm512_set1_epi32(0xffff));
    const __m512i bits = _mm512_add_epi32(_mm512_maskz_loadu_epi32(some, x + i), h);
    _mm512_mask_cvtepi32_storeu_epi16(out + i, some, _mm512_srli_epi32(bits, 16));
  }
}

EXPORT void ponder_score_forward_bf16(int64_t rows, int64_t size, float inverse_temperature, const int64_t* ids,
                                      const bf16* logits, float* logps, float* entropies, float* log_sums) {
  score_forward(rows, size, inverse_temperature, ids, logits, logps, entropies, log_sums);
}
EXPORT void ponder_score_forward_fp32(int64_t rows, int64_t size, float inverse_temperature, const int64_t* ids,
                                      const float* logits, float* logps, float* entropies, float* log_sums) {
  score_forward(rows, size, inverse_temperature, ids, logits, logps, entropies, log_sums);
}

EXPORT void ponder_score_backward_bf16(int64_t rows, int64_t size, float inverse_temperature, const int64_t* ids,
                                       const float* log_sums, const float* grads, bf16* logits, float* mass) {
  score_backward(rows, size, inverse_temperature, ids, log_sums, grads, logits, mass);
}
EXPORT void ponder_score_backward_fp32(int64_t rows, int64_t size, float inverse_temperature, const int64_t* ids,
                                       const float* log_sums, const float* grads, float* logits, float* mass) {
  score_backward(rows, size, inverse_temperature, ids, log_sums, grads, logits, mass);
}

#include "end_avx512.h"

EXPORT int ponder_training_supported() { return supported() ? 1 : 0; }

#else  // other processors: PyTorch's own kernels

EXPORT int ponder_training_supported() { return 0; }

#endif
