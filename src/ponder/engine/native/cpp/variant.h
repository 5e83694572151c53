// The kernels, compiled once for each instruction set and chosen when the library is used.
//
// A variant is one file that sets its instruction set and then includes kernels/*.h into its own namespace. Whatever
// else it includes comes before that: a function shared between files must not be compiled for a newer processor.
#pragma once

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "model.h"
#include "number.h"

namespace ponder {

namespace plain {
void step_rows(Run& run, const Team& team);
void sample_rows(const Samples& samples, const Team& team);
}  // namespace plain
namespace avx2 {
void step_rows(Run& run, const Team& team);
void sample_rows(const Samples& samples, const Team& team);
}  // namespace avx2
namespace avx512 {
void step_rows(Run& run, const Team& team);
void sample_rows(const Samples& samples, const Team& team);
}  // namespace avx512

enum Variant : int32_t { Plain = 0, Avx2 = 1, Avx512 = 2 };

// The best variant that this processor and its system run.
Variant best_variant();

}  // namespace ponder
