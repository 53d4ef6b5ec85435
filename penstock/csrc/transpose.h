// Squares of 32-bit units, turned in registers. Only for kernels/*.cpp, like simd.h.
#pragma once

#include "simd.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

typedef uint32_t VecUUnaligned __attribute__((vector_size(W * 4), aligned(4), may_alias));

inline void transpose(VecU (&v)[W]) {  // W x W, by log2(W) perfect shuffles
  VecU low_half, high_half;
  for (int i = 0; i < W; ++i) {
    low_half[i] = (i & 1) * W + i / 2;
    high_half[i] = low_half[i] + W / 2;
  }
#pragma GCC unroll 4
  for (int step = 1; step < W; step *= 2) {
    VecU next[W];
#pragma GCC unroll 16
    for (int i = 0; i < W / 2; ++i) {
      next[2 * i] = __builtin_shuffle(v[i], v[i + W / 2], low_half);
      next[2 * i + 1] = __builtin_shuffle(v[i], v[i + W / 2], high_half);
    }
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) v[i] = next[i];
  }
}

}  // namespace
}  // namespace PENSTOCK_ISA
}  // namespace penstock
