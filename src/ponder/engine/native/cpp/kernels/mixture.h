// Experts: rows are grouped by expert, so that each active expert's weights are read once and the others' never.
// Part of each variant.

class Mixture : Walker {
 public:
  explicit Mixture(const Walker& walker) : Walker(walker) {}

  void run(const Layer& layer, int routed) {
    const int experts = shape_.experts, per_token = shape_.experts_per_token, rows = slice_.rows;
    const Format format = layer.expert_gate_up[0].format;
    const Rows records = format == F32 ? Rows{slice_.normed.as<uint8_t>(), size_t(width_) * 4}
                                       : Rows{slice_.normed_record.as<uint8_t>(), activation_bytes(format, shape_.hidden)};
    route_rows(layer, routed, records);
    team_.sync();

    // slots: the (row, choice) pairs in the order of their experts; every thread counts for itself
    const int slots = rows * per_token;
    const int32_t* chosen = slice_.chosen.as<int32_t>();
    int32_t* starts = scratch_.experts.as<int32_t>();  // experts + 1 of them
    int32_t* next = starts + experts + 1;
    int32_t* slot_of = next + experts;                 // of each (row, choice)
    int32_t* row_of = slot_of + slots;                 // of each slot
    std::memset(starts, 0, size_t(experts + 1) * 4);
    for (int i = 0; i < slots; ++i) ++starts[chosen[i] + 1];
    for (int e = 0; e < experts; ++e) starts[e + 1] += starts[e];
    std::memcpy(next, starts, size_t(experts) * 4);
    for (int i = 0; i < slots; ++i) slot_of[i] = next[chosen[i]]++, row_of[slot_of[i]] = i / per_token;

    // Threads share the panels of all experts: each takes a run of them that costs about the same. A panel costs its
    // weights' way from memory, worth a few rows, and its rows.
    const auto share = [&](bool up) {
      const auto cost = [](int count) { return int64_t(count) + 6; };
      const auto matrix_of = [&](int e) -> const Matrix& { return up ? layer.expert_gate_up[e] : layer.expert_down[e]; };
      int64_t total = 0;
      for (int e = 0; e < experts; ++e)
        if (starts[e + 1] > starts[e]) total += cost(starts[e + 1] - starts[e]) * matrix_of(e).panels;
      const int64_t low = total * team_.rank / team_.size, high = total * (team_.rank + 1) / team_.size;
      int64_t passed = 0;
      auto** list = scratch_.pointers.as<const uint8_t*>();
      for (int e = 0; e < experts && passed < high; ++e) {
        const int start = starts[e], count = starts[e + 1] - start;
        if (count == 0) continue;
        const Matrix& matrix = matrix_of(e);
        const int64_t each = cost(count);
        const auto panels_before = [&](int64_t bound) {
          const int64_t panels = (bound - passed + each - 1) / each;
          return int(panels < 0 || bound <= passed ? 0 : panels > matrix.panels ? matrix.panels : panels);
        };
        const int first = panels_before(low), last = panels_before(high);
        passed += each * matrix.panels;
        if (first >= last) continue;
        const Output middle = gated(slice_.gated, 0, layer.expert_down[e]);
        if (up) {
          for (int i = 0; i < count; ++i) list[i] = records.at(row_of[start + i]);
          Output out = middle;
          out.records += middle.record_stride * start;
          gemm(matrix, list, count, out, first, last);
        } else {
          for (int i = 0; i < count; ++i) list[i] = middle.records + middle.record_stride * (start + i);
          Output out;
          out.stride = width_;
          out.base = slice_.expert_out.as<float>() + size_t(start) * width_;
          gemm(matrix, list, count, out, first, last);
        }
      }
    };

    const bool has_shared = !layer.gate_up.empty();
    const size_t shared_at = slots * activation_bytes(layer.expert_down[0].format, layer.expert_down[0].inputs);
    const Output shared_middle = has_shared ? gated(slice_.gated, shared_at, layer.down) : Output{};
    share(true);
    if (has_shared) product(layer.gate_up, records, rows, shared_middle);
    team_.sync();
    share(false);
    if (has_shared) product(layer.down, {shared_middle.records, shared_middle.record_stride}, rows, into_residual());
    team_.sync();

    const float* weights = slice_.weights.as<float>();
    const float* made = slice_.expert_out.as<float>();
    for (int row = begin_; row < end_; ++row) {
      float* x = x_ + size_t(row) * width_;
      for (int i = 0; i < width_; i += 16) {
        Lanes total = splat(0.0f);
        for (int k = 0; k < per_token; ++k) {
          const int choice = row * per_token + k;
          total = fma(splat(weights[choice]), load(made + size_t(slot_of[choice]) * width_ + i), total);
        }
        store(x + i, load(x + i) + total);
      }
    }
    team_.sync();
  }

 private:
  void route_rows(const Layer& layer, int routed, const Rows& records) {
    const int experts = shape_.experts, per_token = shape_.experts_per_token;
    const size_t normed_stride = width_, logit_stride = float_stride(experts);
    const Format format = layer.expert_gate_up[0].format;
    float* normed = slice_.normed.as<float>();
    for (int row = begin_; row < end_; ++row) {
      rms_norm(x_ + size_t(row) * width_, layer.feed_forward_norm.data(), shape_.hidden, shape_.norm_eps, normed + normed_stride * row);
      if (format != F32) write_activation(format, normed + normed_stride * row, 0, width_, shape_.hidden, records.at(row));
    }
    const int mine = end_ - begin_;
    if (mine == 0) return;
    Output out;
    out.base = slice_.router_logits.as<float>() + logit_stride * begin_;
    out.stride = logit_stride;
    const Rows rows{reinterpret_cast<uint8_t*>(normed + normed_stride * begin_), normed_stride * 4};
    gemm(layer.router, pointers(rows, mine), mine, out, 0, layer.router.panels);
    int layers = 0;
    for (int index = 0; index < shape_.layers; ++index) layers += model_.layers[index].routed();
    for (int row = begin_; row < end_; ++row) {
      int32_t* chosen = slice_.chosen.as<int32_t>() + size_t(row) * per_token;
      route_row(shape_, slice_.router_logits.as<float>() + logit_stride * row, layer.balance_bias, scratch_.rows.as<float>(),
                chosen, slice_.weights.as<float>() + size_t(row) * per_token);
      if (request_.routes == nullptr) continue;
      int16_t* kept = request_.routes + (size_t(table_row(row)) * layers + routed) * per_token;
      for (int k = 0; k < per_token; ++k) kept[k] = int16_t(chosen[k]);
    }
  }
};
