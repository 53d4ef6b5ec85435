// Vectors of float32 in the width of the instruction set, and conversions to and from the types that tensors have.
//
// Only for kernels/*.cpp. Everything is in an unnamed namespace: this header is compiled once per instruction set.
// Rows are computed alike wherever they lie: what a vector holds must not decide how one of its elements is rounded.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#include "types.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX2__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

typedef float Vec __attribute__((vector_size(W * 4)));
typedef int32_t VecI __attribute__((vector_size(W * 4)));
typedef uint32_t VecU __attribute__((vector_size(W * 4)));
typedef uint16_t VecH __attribute__((vector_size(W * 2)));
typedef float VecUnaligned __attribute__((vector_size(W * 4), aligned(4), may_alias));
typedef int32_t VecIUnaligned __attribute__((vector_size(W * 4), aligned(4), may_alias));
typedef uint16_t VecHUnaligned __attribute__((vector_size(W * 2), aligned(2), may_alias));

inline Vec splat(float x) { return x - Vec{}; }
inline VecI splat_i(int32_t x) { return x - VecI{}; }

// a * b + c, fused where the machine can. Not left to -ffp-contract, which fuses in one unrolled loop and not in another.
inline Vec fma(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
  return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
  return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_NEON)
  return (Vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}
inline Vec max(Vec a, Vec b) { return a > b ? a : b; }
inline Vec min(Vec a, Vec b) { return a < b ? a : b; }

// ---- one element

inline float from_bf16(uint16_t x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float y;
  std::memcpy(&y, &bits, 4);
  return y;
}

inline uint16_t to_bf16(float x) {  // to nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

inline float from_f16(uint16_t x) {
#if defined(__F16C__)
  return _cvtsh_ss(x);
#else
  const uint32_t sign = static_cast<uint32_t>(x & 0x8000) << 16;
  uint32_t bits = (x & 0x7fffu) << 13;
  if (bits >= 0x0f800000u) {
    bits += 0x70000000u;  // infinity or NaN
  } else if (bits >= 0x00800000u) {
    bits += 0x38000000u;
  } else {  // subnormal: a multiple of 2^-24
    const float y = static_cast<float>(x & 0x3ff) * 0x1p-24f;
    std::memcpy(&bits, &y, 4);
  }
  bits |= sign;
  float y;
  std::memcpy(&y, &bits, 4);
  return y;
#endif
}

inline uint16_t to_f16(float x) {  // to nearest, ties to even
#if defined(__F16C__)
  return static_cast<uint16_t>(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT));
#else
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00);
  if (bits >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00);  // rounds to infinity
  if (bits < 0x38800000u) {  // subnormal: adding 1/2 lets the hardware round at the right place
    float y;
    std::memcpy(&y, &bits, 4);
    y += 0.5f;
    std::memcpy(&bits, &y, 4);
    return static_cast<uint16_t>(sign | (bits - 0x3f000000u));
  }
  return static_cast<uint16_t>(sign | ((bits - 0x38000000u + 0xfffu + ((bits >> 13) & 1)) >> 13));
#endif
}

template <Type T>
struct Element;  // what memory holds for each Type, and as a float
template <>
struct Element<Type::f32> {
  using Memory = float;
  static inline float load(const float* p) { return *p; }
  static inline void store(float* p, float x) { *p = x; }
};
template <>
struct Element<Type::bf16> {
  using Memory = uint16_t;
  static inline float load(const uint16_t* p) { return from_bf16(*p); }
  static inline void store(uint16_t* p, float x) { *p = to_bf16(x); }
};
template <>
struct Element<Type::f16> {
  using Memory = uint16_t;
  static inline float load(const uint16_t* p) { return from_f16(*p); }
  static inline void store(uint16_t* p, float x) { *p = to_f16(x); }
};
template <Type T>
using Memory = typename Element<T>::Memory;

// ---- W elements, any alignment

// GCC makes several instructions of conversions between vectors where x86 has one.
inline Vec widen_bf16(VecH x) {
#if defined(__AVX512F__)
  return (Vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)x), 16);
#elif defined(__AVX2__)
  return (Vec)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)x), 16);
#else
  return (Vec)(__builtin_convertvector(x, VecU) << 16);
#endif
}

inline VecH narrow_bf16(Vec x) {
#if defined(__AVX512BF16__)
  return (VecH)_mm512_cvtneps_pbh((__m512)x);  // takes subnormal numbers for 0, unlike to_bf16
#else
  const VecU bits = (VecU)x;
  const VecU rounded = (bits + 0x7fffu + ((bits >> 16) & 1)) >> 16;
  const VecU nan = (bits >> 16) | 0x40;
  const VecU result = (VecU)((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
#if defined(__AVX512F__)
  return (VecH)_mm512_cvtepi32_epi16((__m512i)result);
#elif defined(__AVX2__)
  const __m256i packed = _mm256_packus_epi32((__m256i)result, (__m256i)result);
  return (VecH)_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
#else
  return __builtin_convertvector(result, VecH);
#endif
#endif
}

template <Type T>
inline Vec load(const Memory<T>* p) {
  if constexpr (T == Type::f32) {
    return (Vec) * (const VecUnaligned*)p;
  } else if constexpr (T == Type::bf16) {
    return widen_bf16((VecH) * (const VecHUnaligned*)p);
  } else {
#if defined(__AVX512F__)
    return (Vec)_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256((const __m256i*)p));
#elif defined(__F16C__)
    return (Vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
#elif defined(__ARM_NEON)
    return (Vec)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
#else
    Vec x;
    for (int i = 0; i < W; ++i) x[i] = from_f16(p[i]);
    return x;
#endif
  }
}

template <Type T>
inline void store(Memory<T>* p, Vec x) {
  if constexpr (T == Type::f32) {
    *(VecUnaligned*)p = x;
  } else if constexpr (T == Type::bf16) {
    *(VecHUnaligned*)p = narrow_bf16(x);
  } else {
#if defined(__AVX512F__)
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(__F16C__)
    _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(__ARM_NEON)
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)x)));
#else
    for (int i = 0; i < W; ++i) p[i] = to_f16(x[i]);
#endif
  }
}

// The first n < W elements; the others are `rest` and are not touched in memory.
template <Type T>
inline Vec load_part(const Memory<T>* p, int n, float rest = 0.0f) {
  Memory<T> buffer[W];
  for (int i = 0; i < W; ++i) Element<T>::store(buffer + i, rest);
  std::memcpy(buffer, p, n * sizeof(Memory<T>));
  return load<T>(buffer);
}

template <Type T>
inline void store_part(Memory<T>* p, Vec x, int n) {
  Memory<T> buffer[W];
  store<T>(buffer, x);
  std::memcpy(p, buffer, n * sizeof(Memory<T>));
}

// ---- over the elements of a vector, always in the same tree

inline VecI lane_numbers() {  // 0, 1, 2, ...
  VecI lane;
  for (int i = 0; i < W; ++i) lane[i] = i;
  return lane;
}

inline float sum(Vec x) {
#pragma GCC unroll 4
  for (int half = W / 2; half > 0; half /= 2) x += __builtin_shuffle(x, lane_numbers() ^ half);
  return x[0];
}

inline float max_of(Vec x) {  // without NaN
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)x);
#else
  float part[W];
  *(VecUnaligned*)part = x;
  for (int half = W / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) part[i] = part[i] > part[i + half] ? part[i] : part[i + half];
  return part[0];
#endif
}

// What a comparison of vectors gave, element i as bit i.
inline uint32_t bits_of(VecI condition) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)condition);
#elif defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_ps((__m256)condition));
#else
  uint32_t bits = 0;
  for (int i = 0; i < W; ++i) bits |= (static_cast<uint32_t>(condition[i]) & 1) << i;
  return bits;
#endif
}

// (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2, from the Cephes library (netlib.org/cephes).
inline Vec exp_tail(Vec r) {
  Vec p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  return fma(p, r, splat(5.0000001201e-1f));
}

// e^x within 2 units in the last place; 0 below -87.3, where the result would be subnormal; infinity above 88.7.
// x is a multiple n of ln 2, taken off in two parts, and a rest.
inline Vec exp(Vec x) {
  const Vec low = splat(-87.3365448f), high = splat(88.7228394f);
  const Vec log2_e = splat(1.44269504f), minus_ln2 = splat(-0.693359375f), minus_ln2_rest = splat(2.12194440e-4f);
#if defined(__AVX512F__)
  const Vec clipped = (Vec)_mm512_maskz_min_ps(0xffff, (__m512)(high + 1.0f), (__m512)x);  // a NaN stays
  const Vec n = (Vec)_mm512_maskz_roundscale_ps(0xffff, (__m512)(clipped * log2_e), _MM_FROUND_TO_NEAREST_INT);
  const Vec r = fma(n, minus_ln2_rest, fma(n, minus_ln2, clipped));
  const Vec y = fma(exp_tail(r), r * r, r) + 1.0f;
  const __mmask16 not_tiny = _mm512_cmp_ps_mask((__m512)x, (__m512)low, _CMP_NLT_UQ);
  return (Vec)_mm512_maskz_scalef_ps(not_tiny, (__m512)y, (__m512)n);
#else
  const Vec clipped = min(max(x, low), high);
  const Vec shift = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
  const Vec n = fma(clipped, log2_e, shift) - shift;
  const Vec r = fma(n, minus_ln2_rest, fma(n, minus_ln2, clipped));
  const Vec y = fma(exp_tail(r), r * r, r) + 1.0f;
  // 2^n in two factors, since n may be 128.
  const VecI whole = __builtin_convertvector(n, VecI), half = whole >> 1;
  const Vec first = (Vec)((half + 127) << 23), second = (Vec)((whole - half + 127) << 23);
  const Vec result = y * first * second;
  const Vec limited = x > high ? splat(INFINITY) : result;
  const Vec bounded = x < low ? Vec{} : limited;
  return x == x ? bounded : x;
#endif
}

}  // namespace
}  // namespace PENSTOCK_ISA
}  // namespace penstock
