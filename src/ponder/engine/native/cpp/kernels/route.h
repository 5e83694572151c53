// Which experts a row goes to: the gate of models/moe.py. Part of each variant.

static inline int highest(const float* scores, int count) {
  int best = 0;
  for (int i = 1; i < count; ++i)
    if (scores[i] > scores[best]) best = i;
  return best;
}

// Chosen experts and their weights, the likeliest first. `space` has room for 2 · (experts + groups) floats.
static void route_row(const Shape& shape, const float* logits, const Vector& bias, float* space, int32_t* chosen, float* weights) {
  const int experts = shape.experts, groups = shape.groups, of_group = experts / groups;
  const float none = -std::numeric_limits<float>::infinity();
  float *scores = space, *choice = space + experts, *group_scores = space + 2 * experts, *kept = group_scores + groups;
  if (shape.softmax_gate) {
    const float most = logits[highest(logits, experts)];
    float total = 0.0f;
    for (int e = 0; e < experts; ++e) total += scores[e] = std::exp(logits[e] - most);
    for (int e = 0; e < experts; ++e) scores[e] /= total;
  } else {
    for (int e = 0; e < experts; ++e) scores[e] = 1.0f / (1.0f + std::exp(-logits[e]));
  }
  for (int e = 0; e < experts; ++e) choice[e] = scores[e] + (bias.empty() ? 0.0f : bias[e]);
  if (groups > 1) {
    for (int g = 0; g < groups; ++g) {
      const float* of = choice + g * of_group;
      const int best = highest(of, of_group);
      float second = none;
      for (int e = 0; e < of_group; ++e)
        if (e != best && of[e] > second) second = of[e];
      group_scores[g] = shape.group_max ? of[best] : of[best] + second;
    }
    for (int g = 0; g < groups; ++g) kept[g] = 0.0f;
    for (int n = 0; n < shape.groups_per_token; ++n) {
      const int g = highest(group_scores, groups);
      kept[g] = 1.0f;
      group_scores[g] = none;
    }
    for (int g = 0; g < groups; ++g)
      for (int e = 0; e < of_group && kept[g] == 0.0f; ++e) choice[g * of_group + e] = none;
  }
  float total = 0.0f;
  for (int k = 0; k < shape.experts_per_token; ++k) {
    const int e = highest(choice, experts);
    chosen[k] = e;
    total += weights[k] = scores[e];
    choice[e] = none;
  }
  for (int k = 0; k < shape.experts_per_token; ++k)
    weights[k] = (shape.normalise_weights ? weights[k] / (total + 1e-20f) : weights[k]) * shape.route_scale;
}
