// Multi-head latent attention in a step, in its absorbed form. Part of each variant.

class LatentAttention : Walker {
 public:
  explicit LatentAttention(const Walker& walker) : Walker(walker) {}

  void run(const Layer& layer, int index) {
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

 private:
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
};
