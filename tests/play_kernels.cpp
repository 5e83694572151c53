// Makes the calls that tests/test_other_processor.py recorded, on another processor: TAPE OUT. Compiled with the kernels.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "model.h"

using namespace ponder;

extern "C" {
const char* ponder_error();
int32_t ponder_best_variant();
Model* ponder_model_new(const Shape*, const float*, const float*, int32_t, int32_t);
int32_t ponder_matrix_new(Model*, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t);
int32_t ponder_matrix_pack(Model*, int32_t, int32_t, int32_t, int32_t, int32_t, const uint8_t*, int32_t, int32_t);
int32_t ponder_vector_set(Model*, int32_t, int32_t, const float*, int32_t);
Cache* ponder_cache_new(const Model*, int32_t);
int32_t ponder_forward(Model*, const Cache*, const Request*);
}

static FILE* tape;

template <class T> static std::vector<T> read(size_t count) {
  std::vector<T> found(count);
  if (std::fread(found.data(), sizeof(T), count, tape) != count) std::exit(3);
  return found;
}

static int32_t number() { return read<int32_t>(1)[0]; }

static void require(bool well) {
  if (well) return;
  std::fprintf(stderr, "%s\n", ponder_error());
  std::exit(1);
}

int main(int, char** arguments) {
  tape = std::fopen(arguments[1], "rb");
  if (tape == nullptr || ponder_best_variant() != 0) return 2;  // another processor has the plain kernels alone
  const Shape shape = read<Shape>(1)[0];
  const size_t turned = number();
  const std::vector<float> cosines = read<float>(turned), sines = read<float>(turned);
  Model* model = ponder_model_new(&shape, cosines.data(), sines.data(), 2, 0);
  require(model != nullptr);
  for (int32_t call; (call = number()) != 0;) {
    if (call == 1) {
      const auto n = read<int32_t>(7);
      require(ponder_matrix_new(model, n[0], n[1], n[2], n[3], n[4], n[5], n[6]) == 0);
    } else if (call == 2) {
      const auto n = read<int32_t>(7);
      const auto rows = read<uint8_t>(number());
      require(ponder_matrix_pack(model, n[0], n[1], n[2], n[3], n[4], rows.data(), n[5], n[6]) == 0);
    } else {
      const auto n = read<int32_t>(3);
      const auto numbers = read<float>(n[2]);
      require(ponder_vector_set(model, n[0], n[1], numbers.data(), n[2]) == 0);
    }
  }
  const int32_t rows = number(), pages = (rows + kPage - 1) / kPage;
  const auto tokens = read<int32_t>(rows);
  std::vector<int32_t> sequences(rows, 0), positions(rows), table(pages);
  for (int i = 0; i < rows; ++i) positions[i] = i;
  for (int i = 0; i < pages; ++i) table[i] = i;
  Cache* cache = ponder_cache_new(model, pages);
  require(cache != nullptr);
  std::vector<float> logits(size_t(rows) * shape.vocabulary);
  Request request;
  request.rows = request.wanted = rows;
  request.tokens = tokens.data();
  request.sequences = sequences.data();
  request.positions = request.wanted_rows = positions.data();
  request.tables = table.data();
  request.table_width = pages;
  request.logits = logits.data();
  require(ponder_forward(model, cache, &request) == 0);
  FILE* out = std::fopen(arguments[2], "wb");
  if (out == nullptr || std::fwrite(logits.data(), 4, logits.size(), out) != logits.size()) return 4;
  return std::fclose(out) == 0 ? 0 : 4;
}
