// One thread's walk through a step. Part of each variant.
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

class Step {
 public:
  Step(Run& run, Slice& slice, Scratch& scratch, const Team& team)
      : run_(run), model_(*run.model), shape_(run.model->shape), cache_(*run.cache), request_(run.request), slice_(slice),
        scratch_(scratch), team_(team), width_(round_up(shape_.hidden, kGroup)), x_(slice.x.as<float>()),
        begin_(team.begin(slice.rows)), end_(team.end(slice.rows)) {}

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
      if (shape_.latent_attention) latent_attention(layer, index);
      else grouped_attention(layer, index);
      product(layer.output, prepared(layer.output), slice_.rows, into_residual());
      team_.sync();
      if (layer.routed()) mixture(layer, routed++);
      else feed_forward(layer);
    }
    finish_rows();
  }

 private:
  Run& run_;
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

  // ---- grouped-query attention ----

  void write_keys(const Layer& layer, int index, int row, int head) {
    const int size = shape_.head_dim, queries = shape_.heads * size, place = position(row);
    const float* made = slice_.first.as<float>() + float_stride(layer.first.outputs) * row + queries;
    float* key = scratch_.rows.as<float>();
    float* turned = key + round_up(size, kGroup);
    std::memcpy(key, made + head * size, size_t(size) * 4);
    if (!layer.key_norm.empty()) rms_norm_head(key, layer.key_norm.data(), size, shape_.norm_eps);
    rotate(key, cosines(row), sines(row), size, shape_.interleaved != 0, turned);
    const int page = request_.table(table_row(row))[place / kPage];
    if (module() && place == 1) clear_first(index, page, head, turned + round_up(size, kGroup));
    write_turned(cache_, cache_.keys(index, page, head), place % kPage, turned, 0, size);
    write_value(cache_, cache_.values(index, page, head), place % kPage, made + (shape_.kv_heads + head) * size, size);
  }

  // Nobody looks at position 0 of the module, but a NaN that somebody left there would spread. `space` is free memory.
  void clear_first(int index, int page, int head, float* space) {
    const int scored = shape_.latent_attention ? shape_.latent + shape_.rope : shape_.head_dim;
    std::memset(space, 0, size_t(scored) * 4);
    write_turned(cache_, cache_.keys(index, page, head), 0, space, 0, scored);
    if (!shape_.latent_attention) write_value(cache_, cache_.values(index, page, head), 0, space, scored);
  }

  void grouped_attention(const Layer& layer, int index) {
    if (slice_.several) {  // rows look at rows of this very step
      for (int row = begin_; row < end_; ++row)
        for (int head = 0; head < shape_.kv_heads; ++head) write_keys(layer, index, row, head);
      team_.sync();
    }
    const int jobs = int(slice_.tiles.size()) * shape_.kv_heads;
    // the last tiles look back furthest: they go first, so that no thread waits for a long one at the end
    for (int job; (job = slice_.next_tile[index].fetch_add(1, std::memory_order_relaxed)) < jobs;) {
      const RowTile& tile = slice_.tiles[slice_.tiles.size() - 1 - job / shape_.kv_heads];
      attend_group(layer, index, tile, job % shape_.kv_heads);
    }
    team_.sync();
  }

  // The queries that one key-value head serves, of some rows of one sequence.
  void attend_group(const Layer& layer, int index, const RowTile& tile, int head) {
    const int size = shape_.head_dim, group = shape_.heads / shape_.kv_heads;
    if (!slice_.several) write_keys(layer, index, tile.first, head);
    const AttentionShape shape{size, size, false, shape_.softmax_scale, module()};
    AttentionSpace space = attention_space(scratch_.attention.as<void>(), shape);
    const size_t stride = float_stride(size);
    float* queries = scratch_.rows.as<float>() + 2 * stride;
    float* plain = scratch_.rows.as<float>();
    const size_t out_stride = float_stride(layer.output.inputs);
    const float* rows[kQueries];
    int limits[kQueries], filled = 0, first_of = 0;
    const int all = tile.count * group;
    for (int query = 0; query < all; ++query) {
      const int row = tile.first + query / group, of = head * group + query % group;
      std::memcpy(plain, slice_.first.as<float>() + float_stride(layer.first.outputs) * row + of * size, size_t(size) * 4);
      if (!layer.query_norm.empty()) rms_norm_head(plain, layer.query_norm.data(), size, shape_.norm_eps);
      rotate(plain, cosines(row), sines(row), size, shape_.interleaved != 0, queries + stride * filled);
      rows[filled] = queries + stride * filled;
      limits[filled++] = position(row) + 1;
      if (filled < kQueries && query + 1 < all) continue;
      attend(cache_, index, head, request_.table(table_row(tile.first)), shape, rows, filled, limits, space);
      for (int q = 0; q < filled; ++q) {
        const int at = first_of + q, to = tile.first + at / group, column = (head * group + at % group) * size;
        std::memcpy(slice_.mixed.as<float>() + out_stride * to + column, space.mixed + q * space.mixed_stride, size_t(size) * 4);
      }
      first_of += filled;
      filled = 0;
    }
  }

  // ---- multi-head latent attention, absorbed ----

  void latent_attention(const Layer& layer, int index) {
    const int rank = shape_.query_rank, latent = shape_.latent, rope = shape_.rope;
    const int start = rank ? rank : model_.query_width();  // of the latent among what `first` made
    const size_t stride = float_stride(layer.first.outputs);
    float* space = scratch_.rows.as<float>();
    const Rows compressed{slice_.latent_record.as<uint8_t>(), rank ? activation_bytes(layer.query_up.format, rank) : 0};
    for (int row = begin_; row < end_; ++row) {
      const float* made = slice_.first.as<float>() + stride * row;
      float* normed = space + round_up(latent, kGroup);
      std::memset(space, 0, float_stride(latent) * 4);
      std::memcpy(space, made + start, size_t(latent) * 4);
      rms_norm(space, layer.key_norm.data(), latent, shape_.latent_norm_eps, normed);
      float* turned = normed + round_up(latent, kGroup);
      rotate(made + start + latent, cosines(row), sines(row), rope, shape_.interleaved != 0, turned);
      const int place = position(row), page = request_.table(table_row(row))[place / kPage];
      uint8_t* keys = cache_.keys(index, page, 0);
      if (module() && place == 1) clear_first(index, page, 0, turned + round_up(rope, kGroup));
      write_turned(cache_, keys, place % kPage, normed, 0, latent);
      write_turned(cache_, keys, place % kPage, turned, latent, rope);
      if (rank) {
        float* query = space;  // the latent is written already
        std::memset(query, 0, float_stride(rank) * 4);
        std::memcpy(query, made, size_t(rank) * 4);
        rms_norm(query, layer.query_norm.data(), rank, shape_.latent_norm_eps, query);
        write_activation(layer.query_up.format, query, 0, round_up(rank, kGroup), rank, compressed.at(row));
      }
    }
    team_.sync();
    if (rank) {
      product(layer.query_up, compressed, slice_.rows, floats(slice_.queries, layer.query_up.outputs, Vector()));
      team_.sync();
    }
    attend_heads(layer, index, team_.begin(shape_.heads), team_.end(shape_.heads));
    team_.sync();
  }

  // Some columns of every row as the operand of a small matrix that belongs to one head.
  Rows operand(const Matrix& matrix, float* base, size_t stride) {
    if (matrix.format == F32) return {reinterpret_cast<uint8_t*>(base), stride * 4};
    const Rows rows{scratch_.record.as<uint8_t>(), activation_bytes(matrix.format, matrix.inputs)};
    float* padded = scratch_.rows.as<float>();
    std::memset(padded, 0, float_stride(matrix.inputs) * 4);
    for (int row = 0; row < slice_.rows; ++row) {
      std::memcpy(padded, base + stride * row, size_t(matrix.inputs) * 4);
      write_activation(matrix.format, padded, 0, round_up(matrix.inputs, kGroup), matrix.inputs, rows.at(row));
    }
    return rows;
  }

  void whole_product(const Matrix& matrix, const Rows& rows, float* base, size_t stride) {
    Output out;
    out.base = base;
    out.stride = stride;
    out.limit = matrix.outputs;
    gemm(matrix, pointers(rows, slice_.rows), slice_.rows, out, 0, matrix.panels);
  }

  // Heads [first, last) of all rows: queries taken to the latent, attention on the latents, values taken from there.
  void attend_heads(const Layer& layer, int index, int first, int last) {
    if (first == last) return;
    const int nope = shape_.nope, rope = shape_.rope, latent = shape_.latent, head_width = nope + rope;
    const bool compressed = shape_.query_rank > 0;
    float* queries = (compressed ? slice_.queries : slice_.first).as<float>();
    const size_t stride = float_stride(compressed ? layer.query_up.outputs : layer.first.outputs);
    const size_t scored = float_stride(latent + rope), all = scored * shape_.heads;
    float* absorbed = slice_.absorbed.as<float>();
    for (int head = first; head < last; ++head) {
      float* of_head = queries + size_t(head) * head_width;
      whole_product(layer.key_heads[head], operand(layer.key_heads[head], of_head, stride), absorbed + scored * head, all);
      for (int row = 0; row < slice_.rows; ++row)
        rotate(of_head + stride * row + nope, cosines(row), sines(row), rope, shape_.interleaved != 0,
               absorbed + all * row + scored * head + latent);
    }
    const AttentionShape shape{latent + rope, latent, true, shape_.softmax_scale, module()};
    AttentionSpace space = attention_space(scratch_.attention.as<void>(), shape);
    float* rows[kQueries];
    int limits[kQueries];
    for (const RowTile& tile : slice_.tiles) {
      const int32_t* table = request_.table(table_row(tile.first));
      const int heads = last - first, all_queries = tile.count * heads;
      // heads share their keys, and so do rows of a prompt: as many queries as there is room for go over them together
      for (int done = 0; done < all_queries; done += kQueries) {
        const int count = all_queries - done < kQueries ? all_queries - done : kQueries;
        for (int q = 0; q < count; ++q) {
          const int row = tile.first + (done + q) / heads, head = first + (done + q) % heads;
          rows[q] = absorbed + all * row + scored * head;
          limits[q] = position(row) + 1;
        }
        attend(cache_, index, 0, table, shape, rows, count, limits, space);
        for (int q = 0; q < count; ++q)  // over the queries, which are done with
          std::memcpy(rows[q], space.mixed + q * space.mixed_stride, size_t(latent) * 4);
      }
    }
    const size_t out_stride = float_stride(layer.output.inputs);
    for (int head = first; head < last; ++head)
      whole_product(layer.value_heads[head], operand(layer.value_heads[head], absorbed + scored * head, all),
                    slice_.mixed.as<float>() + size_t(head) * shape_.value, out_stride);
  }

  // ---- feed-forward ----

  static Output gated(Buffer& buffer, size_t offset, const Matrix& down) {
    Output out;
    out.kind = Output::Gated;
    out.record_format = down.format;
    out.record_inputs = down.inputs;
    out.record_stride = activation_bytes(down.format, down.inputs);
    out.records = buffer.as<uint8_t>() + offset;
    return out;
  }

  void feed_forward(const Layer& layer) {
    const Rows normed = normalise(layer.feed_forward_norm, layer.gate_up.format);
    const Output middle = gated(slice_.gated, 0, layer.down);
    product(layer.gate_up, normed, slice_.rows, middle);
    team_.sync();
    product(layer.down, {middle.records, middle.record_stride}, slice_.rows, into_residual());
    team_.sync();
  }

  void mixture(const Layer& layer, int routed);
  void route_rows(const Layer& layer, int routed, const Rows& records);
  void finish_rows();
};

#include "mixture.h"

// The final norm and the head, of the rows whose logits or states are wanted.
void Step::finish_rows() {
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

void step_rows(Run& run, const Team& team) {
  if (run.divided) Step(run, *run.slices[team.rank], *run.scratch[team.rank], Team{}).walk();
  else Step(run, *run.slices[0], *run.scratch[team.rank], team).walk();
}
