// Products with weights of 8 or 4 bits: see ops/int_matrix.py.
#pragma once

#include "isa.h"
#include "types.h"

namespace penstock {

// A weight [n, k] as whole numbers times scales, in panels of 32 output lanes.
//
// A panel is its groups of input features one after the other, a group its numbers and then 32 scales:
//   8 bits: [group / 4][32][4] bytes, each a number plus 128; one group, of k rounded up to a multiple of 4
//   4 bits: [group / 8][32][4] bytes, each two numbers plus 8: feature i in the low half, i + 4 in the high one
// What lies beyond n and k never matters.
struct IntPanels {
  int bits;
  Type scale_type;  // f32 for 8 bits
  int64_t n, k, group;
  uint8_t* data;

  int64_t groups() const { return (k + group - 1) / group; }
  int64_t group_bytes() const { return group * 32 * bits / 8 + 32 * (scale_type == Type::f32 ? 4 : 2); }
  int64_t panel_bytes() const { return groups() * group_bytes(); }
};

struct IntLinear {
  IntPanels weight;
  Type type;         // of x and bias
  Type out_type;     // of y
  const void* x;     // [rows, k]
  const void* bias;  // [n] or null
  void* y;           // [rows, n]
  int64_t rows;
};

// Rows of a weight to whole numbers from -levels to levels, and for every group a float32 scale that scale_type can hold.
struct QuantizeWeight {
  Type type;
  const void* x;    // [rows, k]
  int8_t* numbers;  // [rows, k]
  float* scales;    // [rows, ceil(k / group)]
  int64_t rows, k, group;
  int levels;
  Type scale_type;
};

// Rows of whole numbers into their lanes of the panels. Scales are not touched.
struct FillPanels {
  IntPanels weight;
  const int8_t* numbers;  // [rows, k]
  int64_t first, rows;    // which rows of the weight they are
};

// Copies rows of an 8-bit weight, as numbers.
struct TakePanelRows {
  IntPanels weight;
  Type type;
  const int64_t* indices;  // [rows]
  void* out;               // [rows, k]
  int64_t rows;
};

PENSTOCK_KERNEL(int_linear, IntLinear)
PENSTOCK_KERNEL(quantize_weight, QuantizeWeight)
PENSTOCK_KERNEL(fill_panels, FillPanels)
PENSTOCK_KERNEL(take_panel_rows, TakePanelRows)

}  // namespace penstock
