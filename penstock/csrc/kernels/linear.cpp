#include "linear.h"

#include "gemm.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

// The micro-kernel holds `rows` x `columns` vectors of sums in registers.
#if defined(__AVX512F__)
constexpr int max_rows = 12, columns = 2;
#elif defined(__AVX2__)
constexpr int max_rows = 6, columns = 2;
#elif defined(__ARM_NEON)
constexpr int max_rows = 4, columns = 4;
#else
constexpr int max_rows = 4, columns = 2;
#endif

#if defined(__AVX512BF16__)
constexpr bool dot_bf16 = true;
#else
constexpr bool dot_bf16 = false;
#endif

// Vectors of sums in registers, between runs in memory.
template <int R>
struct Sums {
  Vec at[R][columns];

  inline Sums(const float* from, bool zero) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < columns; ++c) at[r][c] = zero ? Vec{} : load<Type::f32>(from + r * lanes + c * W);
  }
  inline void save(float* to) const {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < columns; ++c) store<Type::f32>(to + r * lanes + c * W, at[r][c]);
  }
  inline void add(const float* x, const Vec (&w)[columns]) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < columns; ++c) at[r][c] = fma(splat(x[r]), w[c], at[r][c]);
  }
};

// Weights and x of type T; sums in float32.
template <Type T>
struct FloatFormat {
  static constexpr int tile_rows = max_rows;
  static constexpr int64_t run = T == Type::f32 ? 512 : 1024;
  static constexpr bool pairs = T == Type::bf16;

  const Memory<T>* x;
  const Memory<T>* weight;
  int64_t k;

  int64_t depth() const { return pairs ? (k + 1) / 2 * 2 : k; }
  int64_t row_bytes() const { return depth() * (pairs && dot_bf16 ? 2 : 4); }
  int64_t panel_bytes() const { return depth() * lanes * sizeof(Memory<T>); }
  size_t scratch_bytes() const { return 0; }
  void finish(const uint8_t*, int, int64_t, float*) const {}

  const uint8_t* chunk(int64_t panel, int64_t start, int64_t, int64_t, uint8_t*) const {
    return reinterpret_cast<const uint8_t*>(weight + (panel * depth() + start) * lanes);
  }

  // Units are pairs of bf16 for the dot-product instruction, and floats otherwise.
  void pack(int64_t row, int rows, uint8_t* tile) const {
    const Memory<T>* from = x + row * k;
    auto* out = reinterpret_cast<uint32_t*>(tile);
    if constexpr (pairs && dot_bf16) {
      interleave(rows, depth() / 2, out, [&](int r, int64_t unit, int n) -> VecU {
        const Memory<T>* p = from + r * k + unit * 2;
        if (unit * 2 + 2 * W <= k) return (VecU) * (const VecUUnaligned*)p;
        Memory<T> buffer[2 * W] = {};
        std::memcpy(buffer, p, smaller(2 * n, k - unit * 2) * sizeof(Memory<T>));
        return (VecU) * (const VecUUnaligned*)buffer;
      });
    } else {
      interleave(rows, depth(), out, [&](int r, int64_t unit, int n) -> VecU {
        const Memory<T>* p = from + r * k + unit;
        return (VecU)(unit + W <= k ? load<T>(p) : load_part<T>(p, static_cast<int>(smaller(n, k - unit))));
      });
    }
  }

  template <int R>
  __attribute__((noinline)) void multiply(const uint8_t* tile, const uint8_t* chunk, int64_t start, int64_t length,
                                          float* sums, Ahead ahead) const {
    for (int lane = 0; lane < lanes; lane += columns * W) {
      Sums<R> s(sums + lane, start == 0);
      const auto* w = reinterpret_cast<const Memory<T>*>(chunk) + lane * (pairs ? 2 : 1);
      if constexpr (pairs && dot_bf16) {
        add_dots<R>(s, reinterpret_cast<const uint32_t*>(tile) + start / 2 * R, w, length / 2, ahead);
      } else {
        add_products<R>(s, reinterpret_cast<const float*>(tile) + start * R, w, length, ahead);
      }
      s.save(sums + lane);
      ahead.bytes = 0;
    }
  }

  template <int R>
  static inline void add_dots(Sums<R>& s, const uint32_t* x, const Memory<T>* w, int64_t count, Ahead ahead) {
#if defined(__AVX512BF16__)
    for (int64_t i = 0; i < count; ++i, x += R, w += 2 * lanes) {
      prefetch(ahead, i);
      const auto w0 = (__m512bh)_mm512_loadu_si512(w), w1 = (__m512bh)_mm512_loadu_si512(w + lanes);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const auto pair = (__m512bh)_mm512_set1_epi32(x[r]);
        s.at[r][0] = (Vec)_mm512_dpbf16_ps((__m512)s.at[r][0], pair, w0);
        s.at[r][1] = (Vec)_mm512_dpbf16_ps((__m512)s.at[r][1], pair, w1);
      }
    }
#endif
  }

  template <int R>
  static inline void add_products(Sums<R>& s, const float* x, const Memory<T>* w, int64_t count, Ahead ahead) {
    Vec now[columns];
    if constexpr (pairs) {
      for (int64_t i = 0; i < count; i += 2, x += 2 * R, w += 2 * lanes) {
        prefetch(ahead, i / 2);
        VecU both[columns];
#pragma GCC unroll 4
        for (int c = 0; c < columns; ++c) both[c] = (VecU) * (const VecUUnaligned*)(w + 2 * c * W);
#pragma GCC unroll 4
        for (int c = 0; c < columns; ++c) now[c] = (Vec)(both[c] << 16);
        s.add(x, now);
#pragma GCC unroll 4
        for (int c = 0; c < columns; ++c) now[c] = (Vec)(both[c] & 0xffff0000u);
        s.add(x + R, now);
      }
    } else {
      for (int64_t i = 0; i < count; ++i, x += R, w += lanes) {
        if (sizeof(Memory<T>) == 4 || (i & 1) == 0) prefetch(ahead, i * sizeof(Memory<T>) / 4);
#pragma GCC unroll 4
        for (int c = 0; c < columns; ++c) now[c] = load<T>(w + c * W);
        s.add(x, now);
      }
    }
  }
};

template <Type T>
void pack_panel(Memory<T>* panel, int64_t k) {
  const size_t bytes = lanes * k * sizeof(Memory<T>);
  auto* plain = static_cast<Memory<T>*>(thread_scratch(bytes));
  std::memcpy(plain, panel, bytes);
  constexpr int unit = T == Type::bf16 ? 2 : 1;
  if constexpr (T == Type::f16) {
    for (int64_t i = 0; i < k; ++i)
      for (int lane = 0; lane < lanes; ++lane) panel[i * lanes + lane] = plain[lane * k + i];
  } else {  // units of 32 bits
    for (int64_t i = 0; i < k / unit; i += W) {
      const int n = static_cast<int>(smaller(W, k / unit - i));
      for (int lane = 0; lane < lanes; lane += W) {
        VecU v[W];
#pragma GCC unroll 16
        for (int r = 0; r < W; ++r) {
          const Memory<T>* p = plain + (lane + r) * k + i * unit;
          if (n == W) {
            v[r] = (VecU) * (const VecUUnaligned*)p;
          } else {
            uint32_t buffer[W] = {};
            std::memcpy(buffer, p, n * 4);
            v[r] = (VecU) * (const VecUUnaligned*)buffer;
          }
        }
        transpose(v);
        for (int j = 0; j < n; ++j) *(VecUUnaligned*)(panel + ((i + j) * lanes + lane) * unit) = v[j];
      }
    }
  }
}

template <Type T>
void take_row(const Memory<T>* weight, int64_t row, Memory<T>* out, int64_t k) {
  constexpr int unit = T == Type::bf16 ? 2 : 1;
  const int64_t depth = (k + unit - 1) / unit * unit;
  const Memory<T>* from = weight + (row / lanes * depth) * lanes + row % lanes * unit;
  for (int64_t i = 0; i < k; ++i) out[i] = from[i / unit * unit * lanes + i % unit];
}

}  // namespace

void linear(const Linear& a) {
  const Output out{a.out_type, a.type, a.y, a.bias, a.n};
  PENSTOCK_WITH_TYPE(a.type, {
    const FloatFormat<T> format{static_cast<const Memory<T>*>(a.x), static_cast<const Memory<T>*>(a.weight), a.k};
    multiply(format, a.rows, out);
  })
}

void pack_weight(const PackWeight& a) {
  parallel_for(a.panels, [&](int64_t panel) {
    PENSTOCK_WITH_TYPE(a.type, pack_panel<T>(static_cast<Memory<T>*>(a.weight) + panel * lanes * a.k, a.k);)
  });
}

void take_rows(const TakeRows& a) {
  parallel_for(a.rows, [&](int64_t row) {
    PENSTOCK_WITH_TYPE(a.type, take_row<T>(static_cast<const Memory<T>*>(a.weight), a.indices[row],
                                           static_cast<Memory<T>*>(a.out) + row * a.k, a.k);)
  });
}

}  // namespace PENSTOCK_ISA
}  // namespace penstock
