// The C interface, called through ctypes (library.py). A call that fails returns null or a negative number and leaves
// the reason in `ponder_error`, which belongs to the calling thread.
#include <cstdarg>
#include <cstdio>
#include <exception>

#include "model.h"
#include "variant.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

using namespace ponder;

namespace {

thread_local char error_text[256];

int fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(error_text, sizeof error_text, format, arguments);
  va_end(arguments);
  return -1;
}

// The matrices of a layer by number; library.py has the same numbers. `index` is a head or an expert.
enum Part : int32_t { First, QueryUp, AttentionOut, GateUp, Down, Router, KeyHead, ValueHead, ExpertGateUp, ExpertDown, Embedding, Head, MtpProject };
enum VectorPart : int32_t { AttentionNorm, FeedForwardNorm, FirstBias, QueryNorm, KeyNorm, BalanceBias, FinalNorm, MtpEmbeddingNorm, MtpStateNorm, MtpNorm };

Matrix* at(std::vector<Matrix>& list, int index, int count) {
  if (index < 0 || index >= count) return nullptr;
  if (int(list.size()) < count) list.resize(count);
  return &list[index];
}

Matrix* matrix_of(Model& model, int part, int layer_index, int index) {
  if (part == Embedding) return &model.embedding;
  if (part == Head) return &model.head;
  if (part == MtpProject) return model.shape.mtp ? &model.mtp_project : nullptr;
  if (layer_index < 0 || layer_index >= model.layers_held()) return nullptr;
  Layer& layer = model.layers[layer_index];
  switch (part) {
    case First: return &layer.first;
    case QueryUp: return &layer.query_up;
    case AttentionOut: return &layer.output;
    case GateUp: return &layer.gate_up;
    case Down: return &layer.down;
    case Router: return &layer.router;
    case KeyHead: return at(layer.key_heads, index, model.shape.heads);
    case ValueHead: return at(layer.value_heads, index, model.shape.heads);
    case ExpertGateUp: return at(layer.expert_gate_up, index, model.shape.experts);
    case ExpertDown: return at(layer.expert_down, index, model.shape.experts);
    default: return nullptr;
  }
}

bool known(Format format) {
  const Format held = stored_as(format);
  return held >= F32 && held <= Q4M && (format == held || (format > 0 && format == (held | 8) && quantised(held)));
}

Vector* vector_of(Model& model, int part, int layer_index) {
  if (part == FinalNorm) return &model.norm;
  if (part == MtpEmbeddingNorm) return &model.mtp_embedding_norm;
  if (part == MtpStateNorm) return &model.mtp_state_norm;
  if (part == MtpNorm) return &model.mtp_norm;
  if (layer_index < 0 || layer_index >= model.layers_held()) return nullptr;
  Layer& layer = model.layers[layer_index];
  switch (part) {
    case AttentionNorm: return &layer.attention_norm;
    case FeedForwardNorm: return &layer.feed_forward_norm;
    case FirstBias: return &layer.first_bias;
    case QueryNorm: return &layer.query_norm;
    case KeyNorm: return &layer.key_norm;
    case BalanceBias: return &layer.balance_bias;
    default: return nullptr;
  }
}

int check(const Model& model, const Cache& cache, const Request& r) {
  const int first = r.before != nullptr;  // nothing of the module stands at position 0
  if (first && model.mtp_project.empty()) return fail("the model has no multi-token prediction module, or was packed without it");
  for (int row = 0; row < r.rows; ++row) {
    const int sequence = r.sequences[row], position = r.positions[row];
    if (r.tokens[row] < 0 || r.tokens[row] >= model.shape.vocabulary)
      return fail("row %d: token %d is not of the vocabulary of %d", row, r.tokens[row], model.shape.vocabulary);
    if (position < first || position >= model.shape.max_positions)
      return fail("row %d: position %d is not from %d to below the model's %d", row, position, first, model.shape.max_positions);
    if (sequence < 0 || position / kPage >= r.table_width)
      return fail("row %d: position %d of sequence %d is beyond its page table", row, position, sequence);
    for (int entry = 0; entry <= position / kPage; ++entry)
      if (r.table(row)[entry] < 0 || r.table(row)[entry] >= cache.pages)
        return fail("row %d: page %d is not one of the cache's %d", row, r.table(row)[entry], cache.pages);
    if (row > 0 && sequence == r.sequences[row - 1] && position != r.positions[row - 1] + 1)
      return fail("row %d: position %d follows %d of the same sequence", row, position, r.positions[row - 1]);
  }
  for (int w = 0; w < r.wanted; ++w)
    if (r.wanted_rows[w] < (w ? r.wanted_rows[w - 1] + 1 : 0) || r.wanted_rows[w] >= r.rows)
      return fail("wanted row %d is out of order or not below %d", r.wanted_rows[w], r.rows);
  return 0;
}

}  // namespace

EXPORT const char* ponder_error() { return error_text; }
EXPORT int32_t ponder_page() { return kPage; }
EXPORT int32_t ponder_best_variant() { return best_variant(); }
EXPORT int32_t ponder_cores() { return available_cores(); }

EXPORT Model* ponder_model_new(const Shape* shape, const float* cosines, const float* sines, int32_t threads, int32_t variant) {
  if (threads < 1 || variant < Plain || variant > best_variant()) {
    fail("%d threads, variant %d; expected at least one thread and a variant up to %d", threads, variant, best_variant());
    return nullptr;
  }
  Model* model = nullptr;
  try {
    model = new Model(*shape, threads);
  } catch (const std::exception& error) {
    fail("a model with %d threads cannot be made here: %s", threads, error.what());
    return nullptr;
  }
  model->cosines = cosines;
  model->sines = sines;
  model->step = variant == Avx512 ? avx512::step_rows : variant == Avx2 ? avx2::step_rows : plain::step_rows;
  model->sample = variant == Avx512 ? avx512::sample_rows : variant == Avx2 ? avx2::sample_rows : plain::sample_rows;
  return model;
}

EXPORT void ponder_model_free(Model* model) { delete model; }
EXPORT int64_t ponder_weight_bytes(const Model* model) { return int64_t(model->weight_bytes()); }

// Make room for a matrix. Packing rows into it follows.
EXPORT int32_t ponder_matrix_new(Model* model, int32_t part, int32_t layer, int32_t index, int32_t format, int32_t outputs,
                                 int32_t inputs, int32_t paired) {
  Matrix* matrix = matrix_of(*model, part, layer, index);
  if (matrix == nullptr || !matrix->empty() || !known(Format(format)) || outputs < 1 || inputs < 1)
    return fail("matrix part %d, layer %d, index %d: unknown, there already or malformed", part, layer, index);
  shape_matrix(*matrix, Format(format), outputs, inputs, paired != 0, model->pool.size());
  matrix->data = static_cast<uint8_t*>(model->weights.take(matrix->bytes()));
  if (matrix->data == nullptr) return fail("no memory for a matrix of %zu bytes", matrix->bytes());
  return 0;
}

EXPORT int32_t ponder_matrix_pack(Model* model, int32_t part, int32_t layer, int32_t index, int32_t type, int32_t unchanged,
                                  const uint8_t* source, int32_t rows, int32_t first_output) {
  Matrix* matrix = matrix_of(*model, part, layer, index);
  if (matrix == nullptr || matrix->empty() || first_output < 0 || first_output + rows > matrix->outputs)
    return fail("matrix part %d, layer %d, index %d: rows %d to %d do not fit", part, layer, index, first_output, first_output + rows);
  if (source_row_bytes(SourceType(type), matrix->inputs) == 0)
    return fail("rows of %d numbers are not stored in blocks of %d", matrix->inputs, kGroup);
  if (unchanged && !fits_unchanged(matrix->format, SourceType(type)))
    return fail("blocks of type %d do not go into a matrix of format %d unchanged", type, matrix->format);
  struct Job {
    Matrix* matrix;
    SourceType type;
    bool unchanged;
    const uint8_t* source;
    int rows, first;
  } job{matrix, SourceType(type), unchanged != 0, source, rows, first_output};
  model->pool.run(
      [](void* context, const Team& team) {
        const Job& j = *static_cast<Job*>(context);
        pack_rows(*j.matrix, j.type, j.unchanged, j.source, j.rows, j.first, team.rank, team.size);
      },
      &job);
  return 0;
}

// One row of a matrix as floats; `out` has room for the inputs rounded up to 32.
EXPORT int32_t ponder_matrix_row(Model* model, int32_t part, int32_t layer, int32_t index, int32_t output, float* out) {
  Matrix* matrix = matrix_of(*model, part, layer, index);
  if (matrix == nullptr || matrix->empty() || output < 0 || output >= matrix->outputs) return fail("no such row of a matrix");
  unpack_row(*matrix, output, out);
  return 0;
}

EXPORT int32_t ponder_vector_set(Model* model, int32_t part, int32_t layer, const float* source, int32_t count) {
  Vector* vector = vector_of(*model, part, layer);
  if (vector == nullptr) return fail("vector part %d, layer %d: unknown", part, layer);
  vector->assign(size_t(round_up(count, 2 * kGroup)), 0.0f);
  for (int i = 0; i < count; ++i) (*vector)[i] = source[i];
  return 0;
}

EXPORT Cache* ponder_cache_new(const Model* model, int32_t pages) {
  const Shape& s = model->shape;
  auto* cache = new (std::nothrow) Cache;
  if (cache == nullptr || pages < 1) {
    fail("no memory for a cache of %d pages", pages);
    delete cache;
    return nullptr;
  }
  const size_t number = s.half_cache ? 2 : 4;
  cache->pages = pages;
  cache->layers = model->layers_held();
  cache->half = s.half_cache != 0;
  cache->heads = s.latent_attention ? 1 : s.kv_heads;
  // what reads a turned page four dimensions at a time may reach past the last
  const int scored = s.latent_attention ? round_up(s.latent + s.rope, 4) : s.head_dim;
  cache->key_bytes = align64(size_t(scored) * kPage * number);
  cache->value_bytes = s.latent_attention ? 0 : align64(size_t(round_up(s.head_dim, kPage)) * kPage * number);
  cache->bytes = cache->page_bytes() * cache->layers * pages;
  cache->data = static_cast<uint8_t*>(take_memory(cache->bytes, true));
  if (cache->data == nullptr) {
    fail("no memory for a cache of %zu bytes", cache->bytes);
    delete cache;
    return nullptr;
  }
  return cache;
}

EXPORT void ponder_cache_free(Cache* cache) {
  if (cache != nullptr) give_memory(cache->data, cache->bytes);
  delete cache;
}

EXPORT int64_t ponder_cache_page_bytes(const Cache* cache) { return int64_t(cache->page_bytes() * cache->layers); }

EXPORT int32_t ponder_cache_copy(Cache* cache, const int32_t* from, const int32_t* to, int32_t count) {
  for (int i = 0; i < count; ++i)
    if (from[i] < 0 || to[i] < 0 || from[i] >= cache->pages || to[i] >= cache->pages)
      return fail("page %d or %d is not one of the cache's %d", from[i], to[i], cache->pages);
  for (int layer = 0; layer < cache->layers; ++layer)
    for (int i = 0; i < count; ++i)
      std::memcpy(cache->keys(layer, to[i], 0), cache->keys(layer, from[i], 0), cache->page_bytes());
  return 0;
}

EXPORT int32_t ponder_forward(Model* model, const Cache* cache, const Request* request) {
  if (check(*model, *cache, *request) < 0) return -1;
  if (!forward(*model, *cache, *request)) return fail("no memory for a step of %d rows", request->rows);
  return 0;
}

EXPORT int32_t ponder_sample(Model* model, const Samples* samples) {
  struct Job {
    const Samples* samples;
    void (*sample)(const Samples&, const Team&);
  } job{samples, model->sample};
  const auto work = [](void* context, const Team& team) {
    const Job& j = *static_cast<Job*>(context);
    j.sample(*j.samples, team);
  };
  model->pool.run(work, &job);
  return 0;
}

EXPORT void ponder_uniforms(const int64_t* seeds, const int64_t* counters, int32_t count, float* out) {
  for (int i = 0; i < count; ++i) out[i] = counter_uniform(seeds[i], counters[i]);
}
