// One thread's walk through a step. Part of each variant.

class Step : Walker {
 public:
  using Walker::Walker;

  void walk() {
    if (module()) {
      join_rows();
    } else {
      for (int row = begin_; row < end_; ++row) embed(row, x_ + size_t(row) * width_);
    }
    if (shared()) team_.sync();
    int routed = 0;
    for (int index = module() ? shape_.layers : 0; index < shape_.layers + int(module()); ++index) {
      const Layer& layer = model_.layers[index];
      const Rows normed = normalise(layer.attention_norm, layer.first.format);
      product(layer.first, normed, slice_.rows, floats(slice_.first, layer.first.outputs, layer.first_bias));
      team_.sync();
      if (shape_.latent_attention) LatentAttention(*this).run(layer, index);
      else GroupedAttention(*this).run(layer, index);
      product(layer.output, prepared(layer.output), slice_.rows, into_residual());
      team_.sync();
      if (layer.routed()) Mixture(*this).run(layer, routed++);
      else feed_forward(layer);
    }
    finish_rows();
  }

 private:
  void embed(int row, float* out) const {
    unpack_row(model_.embedding.empty() ? model_.head : model_.embedding, request_.tokens[table_row(row)], out);
  }

  // What the module's block begins with: each row's embedding and the state before it, normed, side by side, projected.
  void join_rows() {
    const Matrix& project = model_.mtp_project;
    const int hidden = shape_.hidden, both = 2 * hidden;
    const Rows joined{slice_.joined.as<uint8_t>(), activation_bytes(project.format, both)};
    float* given = scratch_.rows.as<float>();
    float* normed = given + width_;
    float* pair = normed + width_;
    std::memset(given, 0, size_t(2 * width_ + round_up(both, kGroup)) * 4);
    for (int row = begin_; row < end_; ++row) {
      embed(row, given);
      rms_norm(given, model_.mtp_embedding_norm.data(), hidden, shape_.norm_eps, normed);
      std::memcpy(pair, normed, size_t(hidden) * 4);
      std::memcpy(given, request_.before + size_t(table_row(row)) * hidden, size_t(hidden) * 4);
      rms_norm(given, model_.mtp_state_norm.data(), hidden, shape_.norm_eps, normed);
      std::memcpy(pair + hidden, normed, size_t(hidden) * 4);
      write_activation(project.format, pair, 0, round_up(both, kGroup), both, joined.at(row));
    }
    if (shared()) team_.sync();
    Output out;
    out.base = x_;
    out.stride = width_;
    product(project, joined, slice_.rows, out);
  }

  void feed_forward(const Layer& layer) {
    const Rows normed = normalise(layer.feed_forward_norm, layer.gate_up.format);
    const Output middle = gated(slice_.gated, 0, layer.down);
    product(layer.gate_up, normed, slice_.rows, middle);
    team_.sync();
    product(layer.down, {middle.records, middle.record_stride}, slice_.rows, into_residual());
    team_.sync();
  }

  // The final norm and the head, of the rows whose logits or states are wanted.
  void finish_rows() {
    const int wanted = slice_.wanted;
    const Vector& norm = module() ? model_.mtp_norm : model_.norm;
    float* normed = scratch_.rows.as<float>();
    for (int row = begin_; request_.states != nullptr && row < end_; ++row) {
      rms_norm(x_ + size_t(row) * width_, norm.data(), shape_.hidden, shape_.norm_eps, normed);
      std::memcpy(request_.states + size_t(table_row(row)) * shape_.hidden, normed, size_t(shape_.hidden) * 4);
    }
    if (wanted == 0) return;
    const Format format = model_.head.format;
    const Rows rows{slice_.normed_record.as<uint8_t>(), activation_bytes(format, shape_.hidden)};
    for (int w = team_.begin(wanted); w < team_.end(wanted); ++w) {
      const int row = request_.wanted_rows[slice_.wanted_begin + w] - slice_.begin;
      rms_norm(x_ + size_t(row) * width_, norm.data(), shape_.hidden, shape_.norm_eps, normed);
      write_activation(format, normed, 0, width_, shape_.hidden, rows.at(w));
      if (request_.hidden != nullptr)
        std::memcpy(request_.hidden + size_t(slice_.wanted_begin + w) * shape_.hidden, normed, size_t(shape_.hidden) * 4);
    }
    if (request_.logits == nullptr) return;
    team_.sync();
    Output out;
    out.base = request_.logits + size_t(slice_.wanted_begin) * shape_.vocabulary;
    out.stride = shape_.vocabulary;
    out.limit = shape_.vocabulary;
    product(model_.head, rows, wanted, out);
  }
};

void step_rows(Run& run, const Team& team) {
  if (run.divided) Step(run, *run.slices[team.rank], *run.scratch[team.rank], Team{}).walk();
  else Step(run, *run.slices[0], *run.scratch[team.rank], team).walk();
}
