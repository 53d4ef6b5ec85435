// Number formats of gemm.h for weights of 8 and 4 bits; activations become 8-bit numbers, row by row.
//
// Sums of products are whole numbers and exact: all of them for 8 bits, inside a group for 4 bits, whose groups are then
// added in float32 in their order.
#include "int_linear.h"

#include "gemm.h"
#include "int_dot.h"
#include "int_rows.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

// The micro-kernel holds `rows` x `columns` vectors of sums in registers.
#if defined(__AVX512F__)
constexpr int max_rows = 12, columns = 2;
#elif defined(__AVX2__)
constexpr int max_rows = 4, columns = 2;
#elif defined(__ARM_NEON)
constexpr int max_rows = 4, columns = 4;
#else
constexpr int max_rows = 2, columns = 2;
#endif

template <int R>
struct IntSums {
  VecI at[R][columns];

  template <int Bits>
  inline void add(const VecB (&w)[columns], const int8_t* x) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const Quad quad(x + 4 * r);
#pragma GCC unroll 4
      for (int c = 0; c < columns; ++c) at[r][c] = dot<Bits>(at[r][c], w[c], quad);
    }
  }
};

// A tile of rows holds, for every group of their features, [group / 4][rows][4] numbers, [rows] scales, and for each row
// what its sums begin with, because of what was added to the numbers of weights.
template <int Bits>
inline void pack_groups(const IntLinear& a, int64_t row, int rows, int64_t group, int64_t groups, int8_t* tile) {
  const int64_t k = a.weight.k;
  for (int64_t g = 0; g < groups; ++g, tile += rows * (group + 8)) {
    const int64_t n = smaller(group, k - g * group);
    for (int r = 0; r < rows; ++r) {
      PENSTOCK_WITH_TYPE(a.type, {
        const auto* x = static_cast<const Memory<T>*>(a.x) + (row + r) * k + g * group;
        const GroupScale q = quantize_group<T>(x, n, group, tile + 4 * r, 4 * rows);
        std::memcpy(tile + rows * group + 4 * r, &q.scale, 4);
        const int32_t begin = -excess<Bits>() * q.sum;
        std::memcpy(tile + rows * (group + 4) + 4 * r, &begin, 4);
      })
    }
  }
}

struct Format {
  static constexpr int tile_rows = max_rows;
  static constexpr int64_t run = 1024;  // a multiple of every group of 4-bit weights

  const IntLinear& a;
  const IntPanels& w;

  explicit Format(const IntLinear& args) : a(args), w(args.weight) {}
  int64_t panel_bytes() const { return w.panel_bytes(); }
  const uint8_t* panel(int64_t i) const { return w.data + i * panel_bytes(); }
  size_t scratch_bytes() const { return 0; }
};

struct Format8 : Format {
  using Format::Format;
  int64_t depth() const { return w.group; }
  int64_t row_bytes() const { return w.group + 8; }
  void pack(int64_t row, int rows, uint8_t* tile) const {
    pack_groups<8>(a, row, rows, w.group, 1, reinterpret_cast<int8_t*>(tile));
  }
  const uint8_t* chunk(int64_t i, int64_t k, int64_t, int64_t, uint8_t*) const { return panel(i) + k * lanes; }

  // The sums are int32 until `finish`.
  template <int R>
  __attribute__((noinline)) void multiply(const uint8_t* tile, const uint8_t* chunk, int64_t k, int64_t length,
                                          float* sums, Ahead ahead) const {
    for (int lane = 0; lane < lanes; lane += columns * W) {
      IntSums<R> s;
      auto* to = reinterpret_cast<VecIUnaligned*>(sums + lane);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < columns; ++c) s.at[r][c] = k == 0 ? VecI{} : (VecI)to[r * (lanes / W) + c];
      const uint8_t* from = chunk + 4 * lane;
      const auto* x = reinterpret_cast<const int8_t*>(tile) + k * R;
      for (int64_t i = 0; i < length / 4; ++i, from += 4 * lanes, x += 4 * R) {
        prefetch(ahead, i);
        VecB b[columns];
#pragma GCC unroll 4
        for (int c = 0; c < columns; ++c) b[c] = load_bytes(from + 4 * c * W);
        s.template add<8>(b, x);
      }
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < columns; ++c) to[r * (lanes / W) + c] = s.at[r][c];
      ahead.bytes = 0;
    }
  }

  void finish(const uint8_t* tile, int rows, int64_t i, float* sums) const {
    const auto* scales = reinterpret_cast<const float*>(panel(i) + w.group * lanes);
    Vec scale[lanes / W];
#pragma GCC unroll 8
    for (int v = 0; v < lanes / W; ++v) scale[v] = load<Type::f32>(scales + v * W);
    for (int r = 0; r < rows; ++r) {
      float row_scale;
      int32_t begin;
      std::memcpy(&row_scale, tile + rows * w.group + 4 * r, 4);
      std::memcpy(&begin, tile + rows * (w.group + 4) + 4 * r, 4);
#pragma GCC unroll 8
      for (int v = 0; v < lanes / W; ++v) {
        float* y = sums + r * lanes + v * W;
        const VecI sum = (VecI) * (VecIUnaligned*)y + begin;
        store<Type::f32>(y, __builtin_convertvector(sum, Vec) * row_scale * scale[v]);
      }
    }
  }
};

template <Type Scale>
struct Format4 : Format {
  using Format::Format;
  int64_t depth() const { return w.groups() * w.group; }
  int64_t row_bytes() const { return w.groups() * (w.group + 8); }
  void pack(int64_t row, int rows, uint8_t* tile) const {
    pack_groups<4>(a, row, rows, w.group, w.groups(), reinterpret_cast<int8_t*>(tile));
  }
  const uint8_t* chunk(int64_t i, int64_t k, int64_t, int64_t, uint8_t*) const {
    return panel(i) + k / w.group * w.group_bytes();
  }
  void finish(const uint8_t*, int, int64_t, float*) const {}

  // Few rows leave registers for their sums in float32, too.
  template <int R>
  static constexpr bool in_registers = R <= 4;

  template <int R>
  __attribute__((noinline)) void multiply(const uint8_t* tile, const uint8_t* chunk, int64_t k, int64_t length,
                                          float* sums, Ahead ahead) const {
    const int64_t group = w.group, bytes = w.group_bytes(), groups = length / group;
    const auto* first = reinterpret_cast<const int8_t*>(tile) + k / group * (group + 8) * R;
    if (k == 0) std::memset(sums, 0, R * lanes * sizeof(float));
    for (int lane = 0; lane < lanes; lane += columns * W) {
      Vec total[R][columns];
      float* at = sums + lane;
      if constexpr (in_registers<R>)
        each<R>([&](int r, int c) { total[r][c] = load<Type::f32>(at + r * lanes + c * W); });
      const uint8_t* from = chunk;
      const int8_t* x = first;
      for (int64_t g = 0; g < groups; ++g, from += bytes, x += (group + 8) * R) {
        add_group<R>(from, x, lane, at, total, ahead, g * (group / 8 + 1));
      }
      if constexpr (in_registers<R>)
        each<R>([&](int r, int c) { store<Type::f32>(at + r * lanes + c * W, total[r][c]); });
      ahead.bytes = 0;
    }
  }

  template <int R, class Each>
  static inline void each(Each f) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int c = 0; c < columns; ++c) f(r, c);
  }

  template <int R>
  __attribute__((always_inline)) inline void add_group(const uint8_t* chunk, const int8_t* x, int lane, float* sums,
                                                       Vec (&total)[R][columns], const Ahead& ahead, int64_t line) const {
    const int64_t group = w.group;
    const auto* row_scales = reinterpret_cast<const float*>(x + R * group);
    const auto* begin = reinterpret_cast<const int32_t*>(x + R * (group + 4));
    IntSums<R> s;
    each<R>([&](int r, int c) { s.at[r][c] = splat_i(begin[r]); });
    const uint8_t* from = chunk + 4 * lane;
    for (int64_t i = 0; i < group; i += 32) {  // a group is a multiple of 32
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j, from += 4 * lanes, x += 8 * R) {
        prefetch(ahead, line + i / 8 + j);
        VecB low[columns], high[columns];
#pragma GCC unroll 4
        for (int c = 0; c < columns; ++c) {
          const VecB b = load_bytes(from + 4 * c * W);
          low[c] = low_halves(b);
          high[c] = high_halves(b);
        }
        s.template add<4>(low, x);
        s.template add<4>(high, x + 4 * R);
      }
    }
    prefetch(ahead, line + group / 8);
    const auto* scales = reinterpret_cast<const Memory<Scale>*>(chunk + group * lanes / 2) + lane;
    Vec scale[columns];
#pragma GCC unroll 4
    for (int c = 0; c < columns; ++c) scale[c] = load<Scale>(scales + c * W);
    each<R>([&](int r, int c) {
      const Vec part = __builtin_convertvector(s.at[r][c], Vec) * row_scales[r];
      float* y = sums + r * lanes + c * W;
      if constexpr (in_registers<R>) {
        total[r][c] = fma(part, scale[c], total[r][c]);
      } else {
        store<Type::f32>(y, fma(part, scale[c], load<Type::f32>(y)));
      }
    });
  }
};

}  // namespace

void int_linear(const IntLinear& a) {
  const Output out{a.out_type, a.type, a.y, a.bias, a.weight.n};
  if (a.weight.bits == 8) return multiply(Format8(a), a.rows, out);
  PENSTOCK_WITH_TYPE(a.weight.scale_type, multiply(Format4<T>(a), a.rows, out))
}

}  // namespace PENSTOCK_ISA
}  // namespace penstock
