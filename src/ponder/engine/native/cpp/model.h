// The model, its cache and one step's request, as plain data that every instruction-set variant shares.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "matrix.h"
#include "memory.h"
#include "threads.h"

namespace ponder {

constexpr int kPage = 16;  // positions of a cache page: the lanes of one vector of scores

// What Python tells of a model; mirrored field by field in library.py.
struct Shape {
  int32_t vocabulary, hidden, layers, heads, max_positions;
  int32_t latent_attention;          // multi-head latent attention; else grouped-query
  int32_t kv_heads, head_dim;        // grouped-query
  int32_t query_rank, latent, nope, rope, value;  // latent; query_rank 0: queries are not compressed
  int32_t interleaved;               // which pairs of dimensions turn together
  int32_t experts, experts_per_token, groups, groups_per_token;
  int32_t softmax_gate, group_max, normalise_weights;
  int32_t half_cache;                // bf16 keys and values; else fp32
  int32_t mtp;                       // 1: a multi-token prediction module, whose block is the layer after the last
  float softmax_scale, norm_eps, latent_norm_eps, route_scale;
};

using Vector = std::vector<float>;  // padded with zeros to whole groups

struct Layer {
  // `first` makes, of the normed input: GQA: queries, keys, values; MLA: queries (or their latent), latent, rotated key
  Matrix first, query_up, output, gate_up, down, router;
  std::vector<Matrix> key_heads, value_heads;        // MLA: per head, (latent, nope) and (value, latent)
  std::vector<Matrix> expert_gate_up, expert_down;   // gate_up and down are the shared experts' then
  Vector attention_norm, feed_forward_norm, first_bias, query_norm, key_norm, balance_bias;
  bool routed() const { return !expert_gate_up.empty(); }
};

struct Run;

struct Model {
  Shape shape;
  Arena weights;  // of all matrices
  std::vector<Layer> layers;
  Matrix embedding, head;  // a tied model has no embedding of its own: tokens are read from the head
  Vector norm;
  Matrix mtp_project;  // of the module: (hidden, 2 hidden), for the normed embedding and the normed state after it
  Vector mtp_embedding_norm, mtp_state_norm, mtp_norm;
  const float* cosines = nullptr;  // (max_positions, rope/2), the caller's
  const float* sines = nullptr;
  Pool pool;
  std::unique_ptr<Run> run;  // working memory of steps, kept from one to the next
  void (*step)(Run& run, const Team& team) = nullptr;
  void (*sample)(const struct Samples& samples, const Team& team) = nullptr;

  explicit Model(const Shape& s, int threads);
  ~Model();
  bool ready = false;

  int rope_dim() const { return shape.latent_attention ? shape.rope : shape.head_dim; }
  int query_width() const {
    return shape.heads * (shape.latent_attention ? shape.nope + shape.rope : shape.head_dim);
  }
  int mixed_width() const { return shape.heads * (shape.latent_attention ? shape.value : shape.head_dim); }
  int layers_held() const { return shape.layers + shape.mtp; }
  size_t weight_bytes() const;
};

// Pages of `kPage` positions. For each layer and page:
//   GQA, for each key-value head: keys turned, [head_dim][16], then values [16][head_dim rounded up to 16]
//   MLA: latents and rotated keys turned, [latent + rope][16]
// Turned rows of a bf16 cache hold two dimensions side by side: [dim / 2][16][2].
struct Cache {
  int pages = 0, layers = 0;
  bool half = false;
  size_t key_bytes = 0, value_bytes = 0;  // of one head's part of a page
  int heads = 0;
  uint8_t* data = nullptr;
  size_t bytes = 0;

  size_t page_bytes() const { return (key_bytes + value_bytes) * heads; }
  uint8_t* keys(int layer, int page, int head) const {
    return data + (size_t(layer) * pages + page) * page_bytes() + (key_bytes + value_bytes) * head;
  }
  uint8_t* values(int layer, int page, int head) const { return keys(layer, page, head) + key_bytes; }
};

// One step's rows. Rows of a sequence stand together, in the order of their positions, without gaps.
struct Request {
  int rows = 0;
  const int32_t* tokens = nullptr;
  const int32_t* sequences = nullptr;  // rows of `tables`
  const int32_t* positions = nullptr;
  const int32_t* tables = nullptr;     // (sequences, table_width): the page of each 16 positions
  int table_width = 0;
  int wanted = 0;
  const int32_t* wanted_rows = nullptr;  // ascending
  float* logits = nullptr;               // (wanted, vocabulary), or null
  float* hidden = nullptr;               // (wanted, hidden) normed, or null
  int16_t* routes = nullptr;             // (rows, routed layers, experts per token), or null
  float* states = nullptr;               // (rows, hidden): of all rows, normed; or null
  const float* before = nullptr;         // (rows, hidden): run the module, which is given these states; or null
  const int32_t* table(int row) const { return tables + size_t(sequences[row]) * table_width; }
};

// Some rows of one sequence that one thread attends for at a time.
struct RowTile {
  int first, count;
};

// The rows that one team works on, with the memory for it.
struct Slice {
  int begin = 0, rows = 0;
  int wanted_begin = 0, wanted = 0;
  bool several = false;  // some sequence has more than one row here
  std::vector<RowTile> tiles;
  std::unique_ptr<std::atomic<int>[]> next_tile;  // per layer
  Buffer x, normed, normed_record, first, latent_record, queries, absorbed, mixed, mixed_record, gated, expert_out,
      router_logits, chosen, weights, joined;
};

// What one thread needs for itself.
struct Scratch {
  Buffer rows, record, attention, pointers, experts;
};

struct Run {
  const Model* model = nullptr;
  const Cache* cache = nullptr;
  Request request;
  bool divided = false;  // every thread takes its own rows through all layers, without waiting for others
  std::vector<std::unique_ptr<Slice>> slices;
  std::vector<std::unique_ptr<Scratch>> scratch;
};

// Rows of logits to draw from. All arrays have `rows` entries.
struct Samples {
  int rows = 0, vocabulary = 0;
  const float* logits = nullptr;  // (rows, vocabulary)
  const int64_t* seeds = nullptr;
  const int64_t* counters = nullptr;
  float temperature = 1.0f;
  int32_t* tokens = nullptr;   // -1 where the logits are not finite
  float* logprobs = nullptr;
};

// Take the request's rows through the model on its own threads. False: no memory.
bool forward(Model& model, const Cache& cache, const Request& request);

}  // namespace ponder
