// A step from the outside: who takes which rows, with what memory.
#include "model.h"

namespace ponder {

namespace {

constexpr size_t kSmallModel = size_t(16) << 20;  // weights that stay in the caches: rows are divided, not panels
constexpr int kTileQueries = 48;

int padded(int columns) { return round_up(columns, kGroup); }

// The widest matrix row of a format, over all layers.
struct Widths {
  size_t record = 0, mixed = 0, query = 0, gated = 0, shared = 0, head_record = 0, joined = 0;
  int first = 0, queries = 0, inputs = 0;
};

size_t larger(size_t a, size_t b) { return a > b ? a : b; }

Widths widths_of(const Model& model) {
  Widths w;
  const int hidden = model.shape.hidden;
  w.record = activation_bytes(model.head.format, hidden);
  w.inputs = hidden;
  if (!model.mtp_project.empty()) {
    w.joined = activation_bytes(model.mtp_project.format, 2 * hidden);
    w.inputs = 4 * padded(hidden);
  }
  for (const Layer& layer : model.layers) {
    w.record = larger(w.record, activation_bytes(layer.first.format, hidden));
    w.mixed = larger(w.mixed, activation_bytes(layer.output.format, layer.output.inputs));
    if (padded(layer.first.outputs) > w.first) w.first = padded(layer.first.outputs);
    if (layer.output.inputs > w.inputs) w.inputs = layer.output.inputs;
    if (!layer.query_up.empty()) {
      w.query = larger(w.query, activation_bytes(layer.query_up.format, layer.query_up.inputs));
      if (padded(layer.query_up.outputs) > w.queries) w.queries = padded(layer.query_up.outputs);
    }
    for (const Matrix& m : layer.key_heads) w.head_record = larger(w.head_record, activation_bytes(m.format, m.inputs));
    for (const Matrix& m : layer.value_heads) w.head_record = larger(w.head_record, activation_bytes(m.format, m.inputs));
    if (!layer.down.empty()) w.shared = larger(w.shared, activation_bytes(layer.down.format, layer.down.inputs));
    if (!layer.gate_up.empty()) w.record = larger(w.record, activation_bytes(layer.gate_up.format, hidden));
    if (!layer.routed()) continue;
    w.record = larger(w.record, activation_bytes(layer.expert_gate_up[0].format, hidden));
    w.gated = larger(w.gated, activation_bytes(layer.expert_down[0].format, layer.expert_down[0].inputs));
  }
  return w;
}

bool reserve_slice(const Model& model, const Widths& w, Slice& slice) {
  const Shape& shape = model.shape;
  const size_t rows = slice.rows, width = padded(shape.hidden), slots = rows * shape.experts_per_token;
  bool ok = slice.x.reserve(rows * width * 4) && slice.normed_record.reserve(rows * w.record) &&
            slice.first.reserve(rows * w.first * 4) && slice.mixed.reserve(rows * padded(model.mixed_width()) * 4) &&
            slice.mixed_record.reserve(rows * w.mixed) && slice.gated.reserve(slots * w.gated + rows * w.shared) &&
            slice.joined.reserve(rows * w.joined);
  if (shape.latent_attention)
    ok = ok && slice.latent_record.reserve(rows * w.query) && slice.queries.reserve(rows * w.queries * 4) &&
         slice.absorbed.reserve(rows * shape.heads * padded(shape.latent + shape.rope) * 4);
  if (shape.experts)
    ok = ok && slice.normed.reserve(rows * width * 4) && slice.expert_out.reserve(slots * width * 4) &&
         slice.router_logits.reserve(rows * padded(shape.experts) * 4) && slice.chosen.reserve(slots * 4) &&
         slice.weights.reserve(slots * 4);
  return ok;
}

bool reserve_scratch(const Model& model, const Widths& w, int rows, Scratch& scratch) {
  const Shape& shape = model.shape;
  const int scored = shape.latent_attention ? shape.latent + shape.rope : shape.head_dim;
  const int widest = padded(w.inputs) + padded(shape.latent) * 2 + padded(shape.query_rank) + padded(scored) * (kTileQueries + 4) +
                     2 * (shape.experts + shape.groups) + 64;
  const size_t space = size_t(kTileQueries) * (256 + padded(scored) / 2 + padded(scored)) * 4 + 256;
  const size_t slots = size_t(rows) * shape.experts_per_token;
  return scratch.rows.reserve(size_t(widest) * 4) && scratch.attention.reserve(space) &&
         scratch.record.reserve(larger(4 * larger(w.record, w.mixed), rows * w.head_record)) &&
         scratch.pointers.reserve((slots + rows + 16) * sizeof(void*)) &&
         scratch.experts.reserve((2 * size_t(shape.experts) + 2 + 2 * slots) * 4);
}

// Cut the slice's rows into tiles of one sequence each; says whether some sequence has several rows.
void tile_rows(const Model& model, const Request& request, Slice& slice) {
  const Shape& shape = model.shape;
  const int group = shape.latent_attention ? 1 : shape.heads / shape.kv_heads;
  int most = kTileQueries / group;
  most = most < 1 ? 1 : most;
  slice.tiles.clear();
  slice.several = false;
  for (int row = 0; row < slice.rows;) {
    int count = 1;
    while (row + count < slice.rows && request.sequences[slice.begin + row + count] == request.sequences[slice.begin + row]) ++count;
    slice.several = slice.several || count > 1;
    for (int done = 0; done < count; done += most)
      slice.tiles.push_back({row + done, count - done < most ? count - done : most});
    row += count;
  }
  slice.next_tile.reset(new std::atomic<int>[model.layers_held()]);
  for (int layer = 0; layer < model.layers_held(); ++layer) slice.next_tile[layer].store(0, std::memory_order_relaxed);
}

// Where each of `parts` slices of the rows ends: near even, never inside a sequence.
std::vector<int> ends_of_parts(const Request& request, int parts) {
  std::vector<int> ends;
  for (int part = 1; part <= parts; ++part) {
    int end = int(int64_t(request.rows) * part / parts);
    while (end > 0 && end < request.rows && request.sequences[end] == request.sequences[end - 1]) ++end;
    if (!ends.empty() && end < ends.back()) end = ends.back();
    ends.push_back(end);
  }
  return ends;
}

}  // namespace

Model::Model(const Shape& s, int threads) : shape(s), layers(s.layers + s.mtp), pool(threads), run(new Run) {}

Model::~Model() = default;  // here, where `Run` is known whole

size_t Model::weight_bytes() const {
  size_t total = head.bytes() + embedding.bytes() + mtp_project.bytes();
  for (const Layer& layer : layers) {
    for (const Matrix* m : {&layer.first, &layer.query_up, &layer.output, &layer.gate_up, &layer.down, &layer.router})
      total += m->bytes();
    for (const auto* list : {&layer.key_heads, &layer.value_heads, &layer.expert_gate_up, &layer.expert_down})
      for (const Matrix& m : *list) total += m.bytes();
  }
  return total;
}

bool forward(Model& model, const Cache& cache, const Request& request) {
  if (request.rows == 0) return true;
  Run& run = *model.run;
  run.model = &model;
  run.cache = &cache;
  run.request = request;
  const int threads = model.pool.size();
  const bool many = request.rows >= 8 * threads && request.sequences[0] != request.sequences[request.rows - 1];
  run.divided = threads > 1 && many && model.weight_bytes() <= kSmallModel;
  const Widths widths = widths_of(model);
  const std::vector<int> ends = ends_of_parts(request, run.divided ? threads : 1);
  while (run.slices.size() < ends.size()) run.slices.emplace_back(new Slice);
  while (int(run.scratch.size()) < threads) run.scratch.emplace_back(new Scratch);
  int begin = 0, wanted = 0, most = 0;
  for (size_t part = 0; part < ends.size(); ++part) {
    Slice& slice = *run.slices[part];
    slice.begin = begin;
    slice.rows = ends[part] - begin;
    slice.wanted_begin = wanted;
    while (wanted < request.wanted && request.wanted_rows[wanted] < ends[part]) ++wanted;
    slice.wanted = wanted - slice.wanted_begin;
    begin = ends[part];
    most = slice.rows > most ? slice.rows : most;
    tile_rows(model, request, slice);
    if (!reserve_slice(model, widths, slice)) return false;
  }
  for (auto& scratch : run.scratch)
    if (!reserve_scratch(model, widths, most, *scratch)) return false;
  const auto work = [](void* context, const Team& team) {
    Run& of = *static_cast<Run*>(context);
    of.model->step(of, team);
  };
  model.pool.run(work, &run);
  return true;
}

}  // namespace ponder
