// Sums of products of bytes: four unsigned ones of a weight by four signed ones of an activation, per 32-bit lane.
//
// Only for kernels/*.cpp, like simd.h. Sums are exact, so every instruction set gives the same.
#pragma once

#include "simd.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

typedef uint8_t VecB __attribute__((vector_size(W * 4)));
typedef uint8_t VecBUnaligned __attribute__((vector_size(W * 4), aligned(1), may_alias));

inline VecB load_bytes(const uint8_t* p) { return (VecB) * (const VecBUnaligned*)p; }
inline VecB low_halves(VecB x) { return x & 15; }
inline VecB high_halves(VecB x) { return (VecB)((VecU)x >> 4) & 15; }

inline int32_t load_quad(const int8_t* p) {
  int32_t x;
  std::memcpy(&x, p, 4);
  return x;
}

// Four bytes of an activation, prepared once for all vectors of a panel.
#if defined(__AVX512VNNI__)
struct Quad {
  __m512i x;
  explicit Quad(const int8_t* p) : x(_mm512_set1_epi32(load_quad(p))) {}
};
#elif defined(__AVX512BW__)
struct Quad {
  __m512i even, odd;
  explicit Quad(const int8_t* p) {
    const __m512i x = _mm512_set1_epi32(load_quad(p));
    even = _mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8);
    odd = _mm512_srai_epi16(x, 8);
  }
};
#elif defined(__AVX2__)
struct Quad {
  __m256i even, odd;
  explicit Quad(const int8_t* p) {
    const __m256i x = _mm256_set1_epi32(load_quad(p));
    even = _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8);
    odd = _mm256_srai_epi16(x, 8);
  }
};
#elif defined(__ARM_FEATURE_DOTPROD)
struct Quad {
  int8x16_t x;
  explicit Quad(const int8_t* p) : x(vreinterpretq_s8_s32(vdupq_n_s32(load_quad(p)))) {}
};
#else
struct Quad {
  int32_t x[4];
  explicit Quad(const int8_t* p) : x{p[0], p[1], p[2], p[3]} {}
};
#endif

// What was added to a weight's numbers and stays in the sums: they are too large by this times the activation's sum.
template <int Bits>
constexpr int32_t excess() {
#if defined(__ARM_FEATURE_DOTPROD)
  return Bits == 8 ? 0 : 8;
#else
  return Bits == 8 ? 128 : 8;
#endif
}

template <int Bits>
inline VecI dot(VecI sum, VecB w, const Quad& quad) {
#if defined(__AVX512VNNI__)
  return (VecI)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, quad.x);
#elif defined(__AVX512BW__)
  const __m512i even = _mm512_and_si512((__m512i)w, _mm512_set1_epi16(0xff)), odd = _mm512_srli_epi16((__m512i)w, 8);
  return sum + (VecI)_mm512_madd_epi16(even, quad.even) + (VecI)_mm512_madd_epi16(odd, quad.odd);
#elif defined(__AVX2__)
  const __m256i even = _mm256_and_si256((__m256i)w, _mm256_set1_epi16(0xff)), odd = _mm256_srli_epi16((__m256i)w, 8);
  return sum + (VecI)_mm256_madd_epi16(even, quad.even) + (VecI)_mm256_madd_epi16(odd, quad.odd);
#elif defined(__ARM_FEATURE_DOTPROD)
  const VecB signed_w = Bits == 8 ? w ^ 128 : w;
  return (VecI)vdotq_s32((int32x4_t)sum, (int8x16_t)signed_w, quad.x);
#else
  const VecI x = (VecI)w;
  return sum + (x & 255) * quad.x[0] + ((x >> 8) & 255) * quad.x[1] + ((x >> 16) & 255) * quad.x[2] +
         ((x >> 24) & 255) * quad.x[3];
#endif
}

}  // namespace
}  // namespace PENSTOCK_ISA
}  // namespace penstock
