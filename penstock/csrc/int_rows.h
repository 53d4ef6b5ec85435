// Numbers to whole numbers of 8 bits or fewer and a scale, by the largest magnitude among them.
//
// Only for kernels/*.cpp, like simd.h.
#pragma once

#include "simd.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

// The largest magnitude; NaN if there is one. As whole numbers, magnitudes order like the numbers, NaN above all.
template <Type T>
inline float largest(const Memory<T>* x, int64_t n) {
  VecI best = {};
  int64_t i = 0;
  const auto take = [&](Vec v) {
    const VecI bits = (VecI)v & 0x7fffffff;
    best = bits > best ? bits : best;
  };
  for (; i + W <= n; i += W) take(load<T>(x + i));
  if (i < n) take(load_part<T>(x + i, static_cast<int>(n - i)));
#pragma GCC unroll 4
  for (int half = W / 2; half > 0; half /= 2) {
    const VecI other = __builtin_shuffle(best, lane_numbers() ^ half);
    best = best > other ? best : other;
  }
  const int32_t most = best[0];
  float y;
  std::memcpy(&y, &most, 4);
  return y;
}

// To the nearest whole number, ties to even; anything where there is none, or one beyond 2^22.
inline VecI whole(Vec x) {
#if defined(__AVX512F__)
  return (VecI)_mm512_cvtps_epi32((__m512)x);
#elif defined(__AVX2__)
  return (VecI)_mm256_cvtps_epi32((__m256)x);
#else
  const Vec bounded = max(min(x, splat(0x1p22f)), splat(-0x1p22f));  // no product that could be fused with the addition
  const Vec shift = splat(12582912.0f);                              // 1.5 * 2^23: adding it rounds
  return (VecI)(bounded + shift) - (VecI)shift;
#endif
}

inline void narrow(VecI x, int8_t* out) {
#if defined(__AVX512F__)
  _mm_storeu_si128((__m128i*)out, _mm512_cvtepi32_epi8((__m512i)x));
#else
  for (int i = 0; i < W; ++i) out[i] = static_cast<int8_t>(x[i]);
#endif
}

struct GroupScale {
  float scale;
  int32_t sum;  // of the whole numbers
};

// n numbers, and zeros up to `group`, to out, where every four are `stride` bytes after the last four. Numbers that are
// not finite make the scale so, and with it all results.
template <Type T>
inline GroupScale quantize_group(const Memory<T>* x, int64_t n, int64_t group, int8_t* out, int64_t stride) {
  const float most = largest<T>(x, n);
  const Vec factor = splat(most > 1e-30f && most <= 3.4e38f ? 127.0f / most : 0.0f);
  VecI sums = {};
  for (int64_t i = 0; i < group; i += W) {
    const int64_t left = n - i;
    const Vec v = left >= W ? load<T>(x + i) : left > 0 ? load_part<T>(x + i, static_cast<int>(left)) : Vec{};
    const VecI q = whole(v * factor);
    sums += q;
    if (stride == 4 && group - i >= W) {
      narrow(q, out + i);
      continue;
    }
    int8_t bytes[W];
    narrow(q, bytes);
    const int64_t quads = (group - i < W ? group - i : W) / 4;
    for (int64_t j = 0; j < quads; ++j) std::memcpy(out + (i / 4 + j) * stride, bytes + 4 * j, 4);
  }
  GroupScale result{most / 127.0f, 0};
#pragma GCC unroll 4
  for (int half = W / 2; half > 0; half /= 2) sums += __builtin_shuffle(sums, lane_numbers() ^ half);
  result.sum = sums[0];
  return result;
}

}  // namespace
}  // namespace PENSTOCK_ISA
}  // namespace penstock
