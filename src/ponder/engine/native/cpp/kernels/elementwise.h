// Row by row: exponential, SiLU, RMSNorm, and numbers made ready to multiply a matrix. Part of each variant.

// Largest relative error 2e-7; 0 below -87, so that the power of two stays a normal number. NaN stays NaN: of two
// numbers that cannot be compared, `largest` gives the second.
static inline Lanes exponential(Lanes x) {
  const Lanes lowest = splat(-87.0f);
  x = largest(lowest, x);
  const Lanes n = nearest(x * splat(1.44269504f));
  Lanes f = fma(n, splat(-0.693145752f), x);  // ln 2 in two parts, the first with few digits: n times it is exact
  f = fma(n, splat(-1.42860677e-6f), f);
  Lanes p = splat(1.3888889e-3f);
  p = fma(p, f, splat(8.3333333e-3f));
  p = fma(p, f, splat(4.1666667e-2f));
  p = fma(p, f, splat(1.6666667e-1f));
  p = fma(p, f, splat(0.5f));
  p = fma(p, f, splat(1.0f));
  p = fma(p, f, splat(1.0f));
  return times_power(p, n);
}

static inline Lanes silu(Lanes x) {
  // clipped where e^-x would leave the range of the power of two; x / (1 + e^87) is 0 to fp32 there anyway
  const Lanes e = exponential(largest(splat(-87.0f), splat(0.0f) - largest(x, splat(-87.0f))));
  return x / (e + splat(1.0f));
}

// A group of which some number is not finite: whatever it multiplies becomes NaN. True where it is one.
static inline bool spoiled(float most, GroupScale* scale) {
  if (most <= std::numeric_limits<float>::max()) return false;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  *scale = {nan, 0, 0, nan};
  return true;
}

// One group of 32 numbers to int8 with a scale.
static inline void quantise_group(const float* values, int8_t* numbers, GroupScale* scale) {
  const Lanes a = load(values), b = load(values + 16);
  const float most = largest_magnitude(a, b);
  if (spoiled(most, scale)) {
    std::memset(numbers, 0, kGroup);
    return;
  }
  const Lanes inverse = splat(most > 1e-30f ? 127.0f / most : 0.0f);
  const int total = store_rounded(numbers, a * inverse) + store_rounded(numbers + 16, b * inverse);
  const float step = most / 127.0f;
  *scale = {step, -128 * total, -8 * total, step * float(total)};
}

// Likewise to 16 bits, as two signed bytes.
static inline void quantise_group_fine(const float* values, int8_t* high, int8_t* low, GroupScale* scale) {
  const Lanes a = load(values), b = load(values + 16);
  const float most = largest_magnitude(a, b);
  if (spoiled(most, scale)) {
    std::memset(high, 0, kGroup);
    std::memset(low, 0, kGroup);
    return;
  }
  const float inverse = most > 1e-30f ? 32512.0f / most : 0.0f;  // 127 · 256
  alignas(64) float scaled[kGroup];
  store(scaled, nearest(a * splat(inverse)));
  store(scaled + 16, nearest(b * splat(inverse)));
  int total = 0;
  for (int i = 0; i < kGroup; ++i) {
    const int q = int(scaled[i]), upper = (q + 128) >> 8;
    high[i] = int8_t(upper);
    low[i] = int8_t(q - upper * 256);
    total += q;
  }
  const float step = most / 32512.0f;
  *scale = {step, -128 * total, -8 * total, step * float(total)};
}

static inline GroupScale* scales_of(uint8_t* record, int inputs) {
  return reinterpret_cast<GroupScale*>(record + align64(round_up(inputs, kGroup)));
}

// Where the second bytes of a fine row stand.
static inline size_t second_bytes(int inputs) {
  const size_t padded = round_up(inputs, kGroup);
  return align64(padded) + align64(padded / kGroup * sizeof(GroupScale));
}

// `count` numbers from `first` on (both multiples of a group, or `count` to the row's end with zeros up to a group)
// into a row of `inputs` numbers in the form that a matrix of this format wants.
static inline void write_activation(Format format, const float* values, int first, int count, int inputs, uint8_t* record) {
  if (format == F32) {
    float* out = reinterpret_cast<float*>(record) + first;
    if (out != values)
      for (int i = 0; i < count; i += 16) store(out + i, load(values + i));
  } else if (format == BF16) {
    uint16_t* out = reinterpret_cast<uint16_t*>(record) + first;
    for (int i = 0; i < count; i += 16) store_bf16(out + i, load(values + i));
  } else {
    GroupScale* scale = scales_of(record, inputs) + first / kGroup;
    if (fine(format)) {
      int8_t* low = reinterpret_cast<int8_t*>(record) + second_bytes(inputs) + first;
      for (int i = 0; i < count; i += kGroup)
        quantise_group_fine(values + i, reinterpret_cast<int8_t*>(record) + first + i, low + i, scale++);
      return;
    }
    for (int i = 0; i < count; i += kGroup)
      quantise_group(values + i, reinterpret_cast<int8_t*>(record) + first + i, scale++);
  }
}

// x / sqrt(mean(x²) + eps) · weight, over `size` numbers that are padded with zeros to a group. `out` may be `x`.
static inline void rms_norm(const float* x, const float* weight, int size, float eps, float* out) {
  const int padded = round_up(size, kGroup);
  Lanes a = splat(0.0f), b = a;
  for (int i = 0; i < padded; i += 32) {
    const Lanes u = load(x + i), v = load(x + i + 16);
    a = fma(u, u, a);
    b = fma(v, v, b);
  }
  const Lanes factor = splat(1.0f / std::sqrt(sum(a + b) / float(size) + eps));
  for (int i = 0; i < padded; i += 16) store(out + i, load(x + i) * factor * load(weight + i));
}

// Likewise for a size that is padded nowhere: one head of a query or key.
static inline void rms_norm_head(float* x, const float* weight, int size, float eps) {
  float total = 0.0f;
  int i = 0;
  Lanes a = splat(0.0f);
  for (; i + 16 <= size; i += 16) a = fma(load(x + i), load(x + i), a);
  total = sum(a);
  for (; i < size; ++i) total += x[i] * x[i];
  const float factor = 1.0f / std::sqrt(total / float(size) + eps);
  for (i = 0; i < size; ++i) x[i] = x[i] * factor * weight[i];
}

// Turn each pair of dimensions by its angle; the result is in halves order whatever the layout.
static inline void rotate(const float* x, const float* cosines, const float* sines, int size, bool interleaved, float* out) {
  const int half = size / 2;
  if (interleaved) {
    for (int i = 0; i < half; ++i) {
      const float a = x[2 * i], b = x[2 * i + 1];
      out[i] = a * cosines[i] - b * sines[i];
      out[half + i] = a * sines[i] + b * cosines[i];
    }
    return;
  }
  for (int i = 0; i < half; ++i) {
    const float a = x[i], b = x[half + i];
    out[i] = a * cosines[i] - b * sines[i];
    out[half + i] = a * sines[i] + b * cosines[i];
  }
}
