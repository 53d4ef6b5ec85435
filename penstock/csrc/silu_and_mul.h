// silu(gate) * up: see ops/silu_and_mul.py.
#pragma once

#include "isa.h"
#include "types.h"

namespace penstock {

struct SiluAndMul {
  Type type;
  const void* x;       // [rows, 2 * width]: gate, then up
  void* out;           // [rows, width]
  int64_t rows, width;
};

PENSTOCK_KERNEL(silu_and_mul, SiluAndMul)

}  // namespace penstock
