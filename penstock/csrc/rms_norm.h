// RMSNorm, with or without adding to a running sum first: see ops/rms_norm.py.
#pragma once

#include "isa.h"
#include "types.h"

namespace penstock {

struct RmsNorm {
  Type type;
  const void* x;       // [rows, width]
  void* residual;      // [rows, width], becomes residual + x, which is what is normed; null: x itself is
  const void* weight;  // [width]
  void* out;           // [rows, width]
  int64_t rows, width;
  float eps;
};

PENSTOCK_KERNEL(rms_norm, RmsNorm)

}  // namespace penstock
