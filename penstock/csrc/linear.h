// Products with packed weights of 16 or 32 bits: see ops/linear.py.
//
// A weight [n, k] is kept in panels of 32 output lanes: [n / 32][k][32] for f32 and f16, [n / 32][k / 2][32][2] for bf16,
// whose dot-product instructions take pairs. n is filled up with zeros to a multiple of 32, and k to one of 2.
#pragma once

#include "isa.h"
#include "types.h"

namespace penstock {

struct Linear {
  Type type;            // of x, weight and bias
  Type out_type;        // of y
  const void* x;        // [rows, k]
  const void* weight;   // packed
  const void* bias;     // [n] or null
  void* y;              // [rows, n]
  int64_t rows, n, k;
};

// Packs a weight in place.
struct PackWeight {
  Type type;
  void* weight;   // plain [panels * 32, k], k even for bf16
  int64_t panels, k;
};

// Copies rows of a packed weight.
struct TakeRows {
  Type type;
  const void* weight;     // packed
  const int64_t* indices; // [rows]
  void* out;              // [rows, k]
  int64_t rows, k;
};

PENSTOCK_KERNEL(linear, Linear)
PENSTOCK_KERNEL(pack_weight, PackWeight)
PENSTOCK_KERNEL(take_rows, TakeRows)

}  // namespace penstock
