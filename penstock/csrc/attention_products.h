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

// The units of the tile that is needed next. With `fetch`, the first half of them is fetched while keys are multiplied,
// the second while values are, in the order in which they lie: memory gives a tenth more than in the order of use.
struct Next {
  const char* units[tile_units];
};

template <int bytes>
inline void prefetch_on(const char*& p) {
#pragma GCC unroll 16
  for (int i = 0; i < bytes; i += 64) __builtin_prefetch(p + i, 0, 3);
  p += bytes;
}

// out[R][tile] = factor * q[R][depth] · keys of U units, the first of them number `first` of the tile. A quarter of the
// tile's steps fetches half a unit; where only two units are multiplied, two halves.
template <class F, int R, int U, bool fetch>
__attribute__((noinline)) void multiply_keys(const typename F::Element* q, const char* const* units, int first,
                                             const Next& next, int64_t depth, float factor, float* out) {
  constexpr int V = U * unit_vectors, row_bytes = unit_tokens * F::lane_bytes;
  constexpr int parts = fetch && U > 1 ? tile_units : 1;
  Vec acc[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[r][v] = Vec{};
  const int64_t steps = depth / F::step;
  for (int64_t part = 0, k = 0; part < parts; ++part) {
    const char *ahead, *behind;
    if constexpr (fetch) {
      const int64_t half = (first + part) % 2 * steps * row_bytes, unit = (first + part) / 2;
      ahead = next.units[unit] + half;
      behind = next.units[tile_units / 2 + unit] + half;
    }
    for (const int64_t stop = steps * (part + 1) / parts; k < stop; ++k) {
      typename F::Right b[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v)
        b[v] = F::right(units[v / unit_vectors] + k * row_bytes + v % unit_vectors * W * F::lane_bytes);
      if constexpr (fetch) prefetch_on<parts * row_bytes>(ahead);
      if constexpr (fetch && U == 2) prefetch_on<parts * row_bytes>(behind);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const typename F::Left a = F::left(q + r * depth + k * F::step);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) acc[r][v] = F::add(acc[r][v], a, b[v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store<Type::f32>(out + r * tile_tokens + v * W, acc[r][v] * factor);
}

// Vectors from `lane` on of sums[R][width] = fade[R] * sums + weights[R][keys of the units] · values.
template <class F, int R, int V, bool fetch>
__attribute__((noinline)) void multiply_values(const typename F::Element* weights, const char* const* units,
                                               int64_t lane, const Next& next, int num_units, int64_t width,
                                               const float* fade, float* sums) {
  constexpr int rows = unit_tokens / F::step, bytes = V * W * F::lane_bytes;
  const int64_t row_bytes = width * F::lane_bytes;
  Vec acc[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[r][v] = load<Type::f32>(sums + r * width + lane + v * W) * fade[r];
  for (int u = 0; u < num_units; ++u) {
    const char* ahead;
    if constexpr (fetch) ahead = next.units[(tile_units + u) / 2] + (2 * lane * F::lane_bytes + u % 2 * bytes) * rows;
    for (int k = 0; k < rows; ++k) {
      const char* p = units[u] + lane * F::lane_bytes + k * row_bytes;
      typename F::Right b[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) b[v] = F::right(p + v * W * F::lane_bytes);
      if constexpr (fetch) prefetch_on<bytes>(ahead);
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
    for (int v = 0; v < V; ++v) store<Type::f32>(sums + r * width + lane + v * W, acc[r][v]);
}

// As above for any number of units; some more may be computed, which must be readable.
template <class F, int R, bool fetch>
inline void multiply_keys(int num_units, const typename F::Element* q, const char* const* units, const Next& next,
                          int64_t depth, float factor, float* out) {
  if constexpr (max_units == 1) {
    for (int u = 0; u < num_units; ++u)
      multiply_keys<F, R, 1, fetch>(q, units + u, u, next, depth, factor, out + u * unit_tokens);
  } else if (num_units <= 2) {
    multiply_keys<F, R, 2, fetch>(q, units, 0, next, depth, factor, out);
  } else {
    multiply_keys<F, R, tile_units, fetch>(q, units, 0, next, depth, factor, out);
  }
}

// As above for all lanes of a row of values.
template <class F, int R, bool fetch>
inline void multiply_values(int64_t width, const typename F::Element* weights, const char* const* units,
                            const Next& next, int num_units, const float* fade, float* sums) {
  constexpr int most = W == 16 && R <= 2 ? 2 * max_vectors : max_vectors;  // so that sums do not wait for each other
  for (int64_t lane = 0; lane < width;) {
    const int64_t vectors = (width - lane) / W;
    if (vectors >= most) {
      multiply_values<F, R, most, fetch>(weights, units, lane, next, num_units, width, fade, sums);
      lane += most * W;
    } else if (vectors >= max_vectors) {
      multiply_values<F, R, max_vectors, fetch>(weights, units, lane, next, num_units, width, fade, sums);
      lane += max_vectors * W;
    } else {
      multiply_values<F, R, unit_vectors, fetch>(weights, units, lane, next, num_units, width, fade, sums);
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
