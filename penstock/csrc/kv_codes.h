// 8-bit codes of keys and values: a number is code * scale, with one float32 scale per token and head. Every code is
// exact in bfloat16. Only for kernels/*.cpp.
//
// e4m3 and e5m2 are the 8-bit floats of the OCP OFP8 specification, without their subnormals: scales make the largest
// number the largest code, so that subnormals stand for less than a 30,000th of it; they are written as 0.
#pragma once

#include "simd.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

constexpr int code_lanes = 32;
typedef uint8_t Codes __attribute__((vector_size(code_lanes)));
typedef int8_t SignedCodes __attribute__((vector_size(code_lanes)));
typedef uint16_t Halves __attribute__((vector_size(code_lanes * 2)));
typedef int32_t Wide __attribute__((vector_size(code_lanes * 4)));

template <int mantissa_bits, int bias, int largest_exponent, int largest_mantissa>
struct Float8 {
  static constexpr int shift = 7 - mantissa_bits;  // between its mantissa and that of bfloat16
  static constexpr float largest = static_cast<float>((1 << mantissa_bits) + largest_mantissa) *
                                   static_cast<float>(1 << (largest_exponent - bias - mantissa_bits));

  static inline Halves decode(Codes x) {
    const Halves bits = __builtin_convertvector(x, Halves), size = (bits & 0x7f) << shift;
    constexpr uint16_t rebias = (127 - bias) << 7;
    const Halves value = size != 0 ? size + rebias : Halves{};
    return value | ((bits & 0x80) << 8);
  }

  static inline uint8_t encode(float x) {  // to nearest, ties to even; |x| <= largest
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    const uint32_t sign = bits >> 24 & 0x80;
    constexpr int drop = 23 - mantissa_bits;
    bits &= 0x7fffffffu;
    bits = (bits + (1u << (drop - 1)) - 1 + (bits >> drop & 1)) >> drop;
    constexpr uint32_t rebias = static_cast<uint32_t>(127 - bias) << mantissa_bits;
    const uint32_t smallest = rebias + (1u << mantissa_bits);
    return static_cast<uint8_t>(bits < smallest ? 0 : sign | (bits - rebias));
  }
};

using E4M3 = Float8<3, 7, 15, 6>;    // up to 448
using E5M2 = Float8<2, 15, 30, 3>;   // up to 57344

struct Int8 {
  static constexpr float largest = 127.0f;

  static inline Halves decode(Codes x) {
#if defined(__AVX512BF16__)
    const __m256i codes = (__m256i)x;
    const __m512 low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(codes)));
    const __m512 high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(codes, 1)));
    return (Halves)_mm512_cvtne2ps_pbh(high, low);
#else
    typedef float Floats __attribute__((vector_size(code_lanes * 4)));
    typedef uint32_t Bits __attribute__((vector_size(code_lanes * 4)));
    const Floats y = __builtin_convertvector(__builtin_convertvector((SignedCodes)x, Wide), Floats);
    return __builtin_convertvector((Bits)y >> 16, Halves);  // exact: 7 bits
#endif
  }

  static inline uint8_t encode(float x) { return static_cast<uint8_t>(static_cast<int8_t>(std::nearbyintf(x))); }
};

template <class Code>
inline void decode(const char* from, uint16_t* to, int64_t count) {
  int64_t i = 0;
  for (; i + code_lanes <= count; i += code_lanes) {
    Codes x;
    std::memcpy(&x, from + i, code_lanes);
    const Halves y = Code::decode(x);
    std::memcpy(to + i, &y, code_lanes * 2);
  }
  if (i < count) {
    Codes x{};
    std::memcpy(&x, from + i, count - i);
    const Halves y = Code::decode(x);
    std::memcpy(to + i, &y, (count - i) * 2);
  }
}

}  // namespace
}  // namespace PENSTOCK_ISA
}  // namespace penstock
