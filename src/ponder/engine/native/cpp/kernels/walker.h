// One thread in a step: its share of the rows, and what the parts of a layer have in common. Part of each variant.
//
// Threads share a product by its panels and everything between products by rows, and meet at a barrier where one
// needs what another made. With few rows, each thread norms and quantises all of them for itself: that costs less
// than the barrier. A team of one (see Run::divided) never waits.

constexpr int kRowsAlone = 4;  // so few that every thread prepares them for itself

struct Rows {
  uint8_t* base = nullptr;
  size_t stride = 0;
  uint8_t* at(int row) const { return base + stride * row; }
};

class Walker {
 public:
  Walker(Run& run, Slice& slice, Scratch& scratch, const Team& team)
      : model_(*run.model), shape_(run.model->shape), cache_(*run.cache), request_(run.request), slice_(slice),
        scratch_(scratch), team_(team), width_(round_up(shape_.hidden, kGroup)), x_(slice.x.as<float>()),
        begin_(team.begin(slice.rows)), end_(team.end(slice.rows)) {}

 protected:
  const Model& model_;
  const Shape& shape_;
  const Cache& cache_;
  const Request& request_;
  Slice& slice_;
  Scratch& scratch_;
  const Team team_;
  const int width_;
  float* const x_;
  const int begin_, end_;  // this thread's share of the rows

  bool module() const { return request_.before != nullptr; }  // the rows are those of the multi-token prediction module
  bool shared() const { return team_.size > 1; }
  bool alone() const { return shared() && slice_.rows <= kRowsAlone; }
  int table_row(int row) const { return slice_.begin + row; }
  int position(int row) const { return request_.positions[slice_.begin + row]; }
  const float* cosines(int row) const { return model_.cosines + size_t(position(row)) * (model_.rope_dim() / 2); }
  const float* sines(int row) const { return model_.sines + size_t(position(row)) * (model_.rope_dim() / 2); }

  static size_t float_stride(int columns) { return size_t(round_up(columns, kGroup)); }

  Output floats(Buffer& buffer, int columns, const Vector& bias) const {
    Output out;
    out.base = buffer.as<float>();
    out.stride = float_stride(columns);
    if (!bias.empty()) out.bias = bias.data();
    return out;
  }

  Output into_residual() const {
    Output out;
    out.kind = Output::Add;
    out.base = x_;
    out.stride = width_;
    return out;
  }

  const uint8_t* const* pointers(const Rows& rows, int count) {
    auto** list = scratch_.pointers.as<const uint8_t*>();
    for (int r = 0; r < count; ++r) list[r] = rows.at(r);
    return list;
  }

  // This thread's panels of matrix × rows.
  void product(const Matrix& matrix, const Rows& rows, int count, const Output& out) {
    gemm(matrix, pointers(rows, count), count, out, team_.begin(matrix.panels), team_.end(matrix.panels));
  }

  // The residual stream, normed, as rows that multiply a matrix of this format.
  Rows normalise(const Vector& weight, Format format) {
    const bool mine = alone();
    Rows rows{mine ? scratch_.record.as<uint8_t>() : slice_.normed_record.as<uint8_t>(), activation_bytes(format, shape_.hidden)};
    float* temporary = scratch_.rows.as<float>();
    for (int row = mine ? 0 : begin_; row < (mine ? slice_.rows : end_); ++row) {
      float* normed = format == F32 ? reinterpret_cast<float*>(rows.at(row)) : temporary;
      rms_norm(x_ + size_t(row) * width_, weight.data(), shape_.hidden, shape_.norm_eps, normed);
      if (format != F32) write_activation(format, normed, 0, width_, shape_.hidden, rows.at(row));
    }
    if (!mine) team_.sync();
    return rows;
  }

  // What attention made, as rows that multiply the output matrix. fp32 rows are that already.
  Rows prepared(const Matrix& matrix) {
    const int columns = matrix.inputs;
    const Rows mixed{slice_.mixed.as<uint8_t>(), float_stride(columns) * 4};
    if (matrix.format == F32) return mixed;
    const bool mine = alone();
    const Rows rows{mine ? scratch_.record.as<uint8_t>() : slice_.mixed_record.as<uint8_t>(), activation_bytes(matrix.format, columns)};
    for (int row = mine ? 0 : begin_; row < (mine ? slice_.rows : end_); ++row)
      write_activation(matrix.format, reinterpret_cast<float*>(mixed.at(row)), 0, round_up(columns, kGroup), columns, rows.at(row));
    if (!mine) team_.sync();
    return rows;
  }

  static Output gated(Buffer& buffer, size_t offset, const Matrix& down) {
    Output out;
    out.kind = Output::Gated;
    out.record_format = down.format;
    out.record_inputs = down.inputs;
    out.record_stride = activation_bytes(down.format, down.inputs);
    out.records = buffer.as<uint8_t>() + offset;
    return out;
  }

  // Nobody looks at position 0 of the module, but a NaN that somebody left there would spread. `space` is free memory.
  void clear_first(int index, int page, int head, float* space) {
    const int scored = shape_.latent_attention ? shape_.latent + shape_.rope : shape_.head_dim;
    std::memset(space, 0, size_t(scored) * 4);
    write_turned(cache_, cache_.keys(index, page, head), 0, space, 0, scored);
    if (!shape_.latent_attention) write_value(cache_, cache_.values(index, page, head), 0, space, scored);
  }
};
