// A token and its log-probability from each row of logits. Part of each variant.
//
// The same draw as algo/sampling.py: a SplitMix64 number for (seed, counter), and the first token at which the
// cumulative distribution exceeds it.

constexpr int kChunks = 256;

struct Distribution {
  const float* logits;
  int size, chunk;       // numbers of the vocabulary, and of a chunk of it
  float temperature;     // 1 where the logits are the scores
  float most;            // the highest score
  double total;          // Σ e^(score - most)
  double sums[kChunks];  // of each chunk

  Lanes scores(int i) const {
    Lanes x;
    if (i + 16 <= size) x = load(logits + i);
    else {
      alignas(64) float rest[16];
      for (int j = 0; j < 16; ++j) rest[j] = i + j < size ? logits[i + j] : -1e30f;
      x = load(rest);
    }
    return temperature == 1.0f ? x : x / splat(temperature);
  }
};

static inline bool finite_number(double x) { return x - x == 0.0; }

// False where no distribution can be made of the logits.
static bool measure(Distribution& d) {
  Lanes peak = splat(-3e38f), nan = splat(0.0f);
  for (int i = 0; i < d.size; i += 16) {
    const Lanes x = d.scores(i);
    peak = largest(peak, x);
    nan = nan + (largest(x, splat(-1e30f)) - largest(splat(-1e30f), x));  // one of the two keeps a NaN
  }
  d.most = maximum(peak);
  if (!(d.most > -1e30f) || !finite_number(d.most) || !finite_number(sum(nan))) return false;
  d.total = 0.0;
  for (int c = 0; c < kChunks; ++c) {
    Lanes sums = splat(0.0f);
    const int end = (c + 1) * d.chunk < d.size ? (c + 1) * d.chunk : d.size;
    for (int i = c * d.chunk; i < end; i += 16) sums = sums + exponential(d.scores(i) - splat(d.most));
    d.sums[c] = double(sum(sums));
    d.total += d.sums[c];
  }
  return finite_number(d.total);
}

static int draw(const Distribution& d, float uniform) {
  const double threshold = double(uniform) * d.total;
  double before = 0.0;
  int chunk = 0, last = 0;
  for (int c = 0; c < kChunks; ++c) {
    if (d.sums[c] > 1e-20) last = c;
  }
  while (chunk < last && before + d.sums[chunk] <= threshold) before += d.sums[chunk++];
  int likely = chunk * d.chunk;  // the last token with a probability, should rounding let the sum end too low
  const int end = (chunk + 1) * d.chunk < d.size ? (chunk + 1) * d.chunk : d.size;
  for (int i = chunk * d.chunk; i < end; i += 16) {
    alignas(64) float e[16];
    store(e, exponential(d.scores(i) - splat(d.most)));
    for (int j = 0; j < 16 && i + j < end; ++j) {
      before += double(e[j]);
      if (e[j] > 1e-30f) likely = i + j;
      if (before > threshold && e[j] > 1e-30f) return i + j;
    }
  }
  return likely;
}

static int first_highest(const Distribution& d) {
  for (int i = 0; i < d.size; ++i)
    if (d.logits[i] == d.most) return i;
  return 0;
}

void sample_rows(const Samples& samples, const Team& team) {
  for (int row = team.begin(samples.rows); row < team.end(samples.rows); ++row) {
    Distribution d;
    d.logits = samples.logits + size_t(row) * samples.vocabulary;
    d.size = samples.vocabulary;
    d.chunk = round_up((d.size + kChunks - 1) / kChunks, 16);
    d.temperature = samples.temperature == 0.0f ? 1.0f : samples.temperature;
    if (!measure(d)) {
      samples.tokens[row] = -1;
      samples.logprobs[row] = 0.0f;
      continue;
    }
    const int token = samples.temperature == 0.0f
                          ? first_highest(d)
                          : draw(d, counter_uniform(samples.seeds[row], samples.counters[row]));
    const float score = d.temperature == 1.0f ? d.logits[token] : d.logits[token] / d.temperature;
    samples.tokens[row] = token;
    samples.logprobs[row] = float(double(score - d.most) - std::log(d.total));
  }
}
