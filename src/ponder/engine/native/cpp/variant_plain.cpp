// Every processor: plain loops.
#include "variant.h"

namespace ponder {
namespace plain {
#include "kernels/lanes_plain.h"
#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/attention.h"
#include "kernels/route.h"
#include "kernels/sampler.h"
#include "kernels/walker.h"
#include "kernels/grouped_attention.h"
#include "kernels/latent_attention.h"
#include "kernels/mixture.h"
#include "kernels/step.h"
}  // namespace plain
}  // namespace ponder
