// Grouped-query attention in a step. Part of each variant.

class GroupedAttention : Walker {
 public:
  explicit GroupedAttention(const Walker& walker) : Walker(walker) {}

  void run(const Layer& layer, int index) {
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

 private:
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
};
