// The two products of attention, rows of queries by a tile of keys and rows of weights by a tile of values, for each
// type that keys and values may have there. Only for kernels/*.cpp.
//
// Every sum is one chain of operations in the order of its depth, whatever rows or keys are computed beside it.
#pragma once

#include "kv_store.h"
#include "simd.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

constexpr int tile_units = 4;
constexpr int tile_tokens = tile_units * static_cast<int>(unit_tokens);
constexpr int unit_vectors = static_cast<int>(unit_tokens) / W;

// What fits the registers at once: rows by vectors.
constexpr int max_rows = W == 16 ? 6 : 4;
constexpr int max_units = W == 16 ? 4 : 1;
constexpr int max_vectors = 4;

// A format: what a row of the left side is made of (Element), how many elements one step along the depth takes (step),
// and acc + left[step] * right[step][W lanes].
struct F32 {
  static constexpr int step = 1, lane_bytes = 4;
  using Element = float;
  using Left = Vec;
  using Right = Vec;
  static inline Left left(const float* p) { return splat(*p); }
  static inline Right right(const char* p) { return load<Type::f32>(reinterpret_cast<const float*>(p)); }
  static inline Vec add(Vec acc, Left a, Right b) { return fma(a, b, acc); }
};

struct F16 : F32 {
  static constexpr int lane_bytes = 2;
  static inline Right right(const char* p) { return load<Type::f16>(reinterpret_cast<const uint16_t*>(p)); }
};

#if defined(__AVX512BF16__)
struct Bf16 {
  static constexpr int step = 2, lane_bytes = 4;
  using Element = uint16_t;
  using Left = __m512i;
  using Right = __m512i;
  static inline Left left(const uint16_t* p) {
    int32_t pair;
    std::memcpy(&pair, p, 4);
    return _mm512_set1_epi32(pair);
  }
  static inline Right right(const char* p) { return _mm512_loadu_si512(p); }
  static inline Vec add(Vec acc, Left a, Right b) {
    return (Vec)_mm512_dpbf16_ps((__m512)acc, (__m512bh)a, (__m512bh)b);
  }
};
#else
struct Bf16 {  // in float32: the two halves of a pair after each other
  static constexpr int step = 2, lane_bytes = 4;
  using Element = float;
  struct Left {
    Vec first, second;
  };
  using Right = VecU;
  static inline Left left(const float* p) { return {splat(p[0]), splat(p[1])}; }
  static inline Right right(const char* p) { return (VecU)load<Type::f32>(reinterpret_cast<const float*>(p)); }
  static inline Vec add(Vec acc, const Left& a, Right b) {
    return fma(a.second, (Vec)(b & 0xffff0000u), fma(a.first, (Vec)(b << 16), acc));
  }
};
#endif

// Elements of a format from float32: 2 * W of them.
template <class F>
inline void store_elements(typename F::Element* p, Vec first, Vec second) {
#if defined(__AVX512BF16__)
  if constexpr (sizeof(typename F::Element) == 2) {
    const __m512bh both = _mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
    std::memcpy(p, &both, 64);
    return;
  }
#endif
  if constexpr (sizeof(typename F::Element) == 4) {
    store<Type::f32>(p, first);
    store<Type::f32>(p + W, second);
  }
}

inline void prefetch(const char* p) { __builtin_prefetch(p, 0, 2); }

// out[R][tile] = factor * q[R][depth] · keys of U units. With `next`, the same places of those units are fetched.
template <class F, int R, int U>
inline void multiply_keys(const typename F::Element* q, int64_t q_stride, const char* const* units,
                          const char* const* next, int64_t depth, float factor, float* out) {
  constexpr int V = U * unit_vectors, row_bytes = unit_tokens * F::lane_bytes;
  Vec acc[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[r][v] = Vec{};
  for (int64_t k = 0; k < depth / F::step; ++k) {
    typename F::Right b[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v)
      b[v] = F::right(units[v / unit_vectors] + k * row_bytes + v % unit_vectors * W * F::lane_bytes);
    if (next)
#pragma GCC unroll 8
      for (int u = 0; u < U; ++u) prefetch(next[u] + k * row_bytes);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const typename F::Left a = F::left(q + r * q_stride + k * F::step);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[r][v] = F::add(acc[r][v], a, b[v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store<Type::f32>(out + r * tile_tokens + v * W, acc[r][v] * factor);
}

// sums[R][V vectors] = fade[R] * sums + weights[R][keys of the units] · values.
template <class F, int R, int V>
inline void multiply_values(const typename F::Element* weights, const char* const* units, const char* const* next,
                            int num_units, int64_t row_bytes, const float* fade, float* sums, int64_t sums_stride) {
  constexpr int rows = unit_tokens / F::step;
  Vec acc[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[r][v] = load<Type::f32>(sums + r * sums_stride + v * W) * fade[r];
  for (int u = 0; u < num_units; ++u) {
    for (int k = 0; k < rows; ++k) {
      const char* p = units[u] + k * row_bytes;
      typename F::Right b[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) b[v] = F::right(p + v * W * F::lane_bytes);
      if (next)
#pragma GCC unroll 8
        for (int v = 0; v < V * W * F::lane_bytes / 64; ++v) prefetch(next[u] + k * row_bytes + v * 64);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const typename F::Left a = F::left(weights + r * tile_tokens + u * unit_tokens + k * F::step);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) acc[r][v] = F::add(acc[r][v], a, b[v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store<Type::f32>(sums + r * sums_stride + v * W, acc[r][v]);
}

// As above for any number of units; some more may be computed, which must be readable.
template <class F, int R>
inline void multiply_keys(int num_units, const typename F::Element* q, int64_t q_stride, const char* const* units,
                          const char* const* next, int64_t depth, float factor, float* out) {
  if constexpr (max_units == 1) {
    for (int u = 0; u < num_units; ++u)
      multiply_keys<F, R, 1>(q, q_stride, units + u, next ? next + u : next, depth, factor, out + u * unit_tokens);
  } else if (num_units <= 2 && !next) {
    multiply_keys<F, R, 2>(q, q_stride, units, next, depth, factor, out);
  } else {
    multiply_keys<F, R, tile_units>(q, q_stride, units, next, depth, factor, out);
  }
}

// As above for all lanes of a row of values.
template <class F, int R>
inline void multiply_values(int64_t width, const typename F::Element* weights, const char* const* units,
                            const char* const* next, int num_units, const float* fade, float* sums) {
  const int64_t row_bytes = width * F::lane_bytes;
  const char *at[tile_units], *ahead[tile_units];
  for (int64_t lane = 0; lane < width;) {
    for (int u = 0; u < tile_units; ++u) {
      at[u] = units[u] + lane * F::lane_bytes;
      if (next) ahead[u] = next[u] + lane * F::lane_bytes;
    }
    const char* const* fetch = next ? ahead : nullptr;
    if (width - lane >= max_vectors * W) {
      multiply_values<F, R, max_vectors>(weights, at, fetch, num_units, row_bytes, fade, sums + lane, width);
      lane += max_vectors * W;
    } else {
      multiply_values<F, R, unit_vectors>(weights, at, fetch, num_units, row_bytes, fade, sums + lane, width);
      lane += unit_tokens;
    }
  }
}

// The most rows to compute at once, of those that are left; and the statement with that constexpr int R.
inline int rows_at_once(int64_t left) { return left >= max_rows ? max_rows : left >= 4 ? 4 : left >= 2 ? 2 : 1; }

#define PENSTOCK_WITH_ROWS(rows, ...)                           \
  switch (rows) {                                               \
    case 1: { constexpr int R = 1; __VA_ARGS__; } break;        \
    case 2: { constexpr int R = 2; __VA_ARGS__; } break;        \
    case 4: { constexpr int R = 4; __VA_ARGS__; } break;        \
    default: { constexpr int R = max_rows; __VA_ARGS__; }       \
  }

}  // namespace
}  // namespace PENSTOCK_ISA
}  // namespace penstock
