// y = x @ weight.T + bias over packed weights: the part that all number formats share.
//
// Only for kernels/*.cpp. Weights lie in panels of 32 output lanes. Rows of x are packed into tiles of a few rows,
// which a format's micro-kernel multiplies with a panel in runs over the input features. Every output is the same
// sequence of operations over these features whatever rows and threads there are, so a row's bits do not depend on them.
//
// A Format says how numbers are stored and multiplied. It is a small value type with
//
//   static constexpr int tile_rows;   // the tallest tile, at most W
//   static constexpr int64_t run;     // input features per run: a chunk of a panel stays in the first-level cache
//   int64_t depth() const;            // input features of a packed row, those added to fill it up included
//   int64_t row_bytes() const;        // of a packed row; what belongs to it besides (a scale) included
//   int64_t panel_bytes() const;      // of a panel of weights
//   void pack(int64_t row, int rows, uint8_t* tile) const;
//       // packs rows row..row + rows of x into one tile; may write up to 64 bytes beyond rows * row_bytes()
//   size_t scratch_bytes() const;     // of memory that a thread needs for `chunk`, often 0
//   const uint8_t* chunk(int64_t panel, int64_t k, int64_t length, int64_t tiles, uint8_t* scratch) const;
//       // input features k..k + length of a panel, as `multiply` wants them: where they lie, or unpacked into scratch
//   template <int R> void multiply(const uint8_t* tile, const uint8_t* chunk, int64_t k, int64_t length,
//                                  float* sums, Ahead ahead) const;
//       // adds to sums[R][32] (or, if k == 0, sets them) the products of a tile of R rows over that run
//   void finish(const uint8_t* tile, int rows, int64_t panel, float* sums) const;
//       // after the last run: what the sums still need (scales); they may have been integers until here
#pragma once

#include "simd.h"
#include "thread_pool.h"
#include "transpose.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

constexpr int lanes = 32;

// Weights that come next, to be fetched while a run is computed: `bytes` (64, 128 or 0) per 128 bytes of this run.
struct Ahead {
  const uint8_t* next;
  int64_t bytes;
};

inline void prefetch(const Ahead& ahead, int64_t line) {
  if (ahead.bytes) {
    const uint8_t* at = ahead.next + line * ahead.bytes;
    __builtin_prefetch(at, 0, 3);
    if (ahead.bytes == 128) __builtin_prefetch(at + 64, 0, 3);
  }
}

// Where results go: y = rounded(sums + bias).
struct Output {
  Type type, bias_type;
  void* y;           // [rows, n]
  const void* bias;  // [n] or null
  int64_t n;
};

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// Rows cut into tiles whose heights differ by at most one: 16 rows are 8 + 8, which keeps the arithmetic units
// busier than 12 + 4.
struct Tiles {
  int64_t rows, count, bytes_per_row;

  template <class Format>
  Tiles(int64_t rows_, const Format& format)
      : rows(rows_), count(ceil_div(rows_, Format::tile_rows)), bytes_per_row(format.row_bytes()) {}
  int64_t start(int64_t tile) const { return rows * tile / count; }
  int height(int64_t tile) const { return static_cast<int>(start(tile + 1) - start(tile)); }
  int64_t offset(int64_t tile) const { return start(tile) * bytes_per_row + tile * 64; }
  size_t bytes() const { return offset(count); }
};

template <Type T>
inline Vec biased(const void* bias, int64_t at, int n, Vec x) {
  const auto* p = static_cast<const Memory<T>*>(bias) + at;
  return x + (n == W ? load<T>(p) : load_part<T>(p, n));
}

// One row of a panel's sums to y, where the last panel is not whole.
template <Type Out>
inline void put_part(const Output& out, int64_t row, int64_t panel, const float* sums) {
  const int64_t width = out.n - panel * lanes;
  for (int64_t lane = 0; lane < width; lane += W) {
    const int n = static_cast<int>(smaller(W, width - lane));
    const int64_t column = panel * lanes + lane;
    Vec x = load<Type::f32>(sums + lane);
    if (out.bias) PENSTOCK_WITH_TYPE(out.bias_type, x = biased<T>(out.bias, column, n, x);)
    store_part<Out>(static_cast<Memory<Out>*>(out.y) + row * out.n + column, x, n);
  }
}

// A tile's sums of a panel to y.
template <Type Out>
inline void put(const Output& out, int64_t row, int rows, int64_t panel, const float* sums) {
  if (out.n < (panel + 1) * lanes) {
    for (int r = 0; r < rows; ++r) put_part<Out>(out, row + r, panel, sums + r * lanes);
    return;
  }
  auto* y = static_cast<Memory<Out>*>(out.y) + row * out.n + panel * lanes;
  for (int r = 0; r < rows; ++r, y += out.n, sums += lanes) {
#pragma GCC unroll 8
    for (int lane = 0; lane < lanes; lane += W) {
      Vec x = load<Type::f32>(sums + lane);
      if (out.bias) PENSTOCK_WITH_TYPE(out.bias_type, x = biased<T>(out.bias, panel * lanes + lane, W, x);)
      store<Out>(y + lane, x);
    }
  }
}

// A row's results of a panel fill about one line of memory, to be had by the time they are there.
inline void fetch_lines(const Output& out, int64_t row, int rows, int64_t panel) {
  const int64_t size = out.type == Type::f32 ? 4 : 2;
  const auto* y = static_cast<const uint8_t*>(out.y) + (row * out.n + panel * lanes) * size;
  for (int r = 0; r < rows; ++r) __builtin_prefetch(y + r * out.n * size, 1, 3);
}

template <int R, class Format>
inline void multiply_rows(const Format& format, int rows, const uint8_t* tile, const uint8_t* chunk, int64_t k,
                          int64_t length, float* sums, Ahead ahead) {
  if (rows == R) return format.template multiply<R>(tile, chunk, k, length, sums, ahead);
  if constexpr (R > 1) multiply_rows<R - 1>(format, rows, tile, chunk, k, length, sums, ahead);
}

// How far ahead a lone tile fetches weights, in bytes: with few rows it waits for memory anyway, and the processor's own
// prefetching does best; with more the memory must not wait for the arithmetic.
constexpr int64_t near = 4 << 10, far = 16 << 10;

// One panel times tiles first..last, into `out`. `sums` holds [rows of these tiles][32].
template <class Format>
inline void multiply_panel(const Format& format, const Tiles& tiles, const uint8_t* packed, int64_t first, int64_t last,
                           int64_t panel, const Output& out, float* sums, uint8_t* scratch) {
  const int64_t depth = format.depth();
  for (int64_t k = 0; k < depth; k += Format::run) {
    const int64_t length = smaller(Format::run, depth - k);
    const uint8_t* chunk = format.chunk(panel, k, length, last - first, scratch);
    const int64_t bytes = format.panel_bytes() * length / depth;
    for (int64_t t = first; t < last; ++t) {
      // The first two tiles fetch the next run's weights, one line each where there are two of them.
      Ahead ahead{chunk + bytes, 0};
      if (last - first == 1) {
        ahead = {chunk + (tiles.height(t) > 4 ? far : near), 128};
      } else if (t - first < 2) {
        ahead = {chunk + bytes + (t - first) * bytes / 2, 64};
      }
      float* tile_sums = sums + (tiles.start(t) - tiles.start(first)) * lanes;
      const int64_t row = tiles.start(t);
      const int rows = tiles.height(t);
      const bool done = k + length == depth;
      if (done) fetch_lines(out, row, rows, panel);
      multiply_rows<Format::tile_rows>(format, rows, packed + tiles.offset(t), chunk, k, length, tile_sums, ahead);
      if (!done) continue;
      format.finish(packed + tiles.offset(t), rows, panel, tile_sums);
      PENSTOCK_WITH_TYPE(out.type, put<T>(out, row, rows, panel, tile_sums))
    }
  }
}

constexpr int64_t pack_alone = 1 << 15;     // bytes of packed rows below which it is not worth a second thread
constexpr int64_t block_bytes = 384 << 10;  // of packed rows that are kept in the second-level cache
constexpr int64_t tasks_per_thread = 4;     // panels are shared out in this many pieces, so that a late thread helps

// Panels begin..end times tiles first..last, which lie in `packed`. Scratch memory from `scratch` on.
template <class Format>
inline void multiply_panels(const Format& format, const Tiles& tiles, const uint8_t* packed, int64_t first,
                            int64_t last, int64_t begin, int64_t end, const Output& out, uint8_t* scratch) {
  const size_t sums_bytes = (tiles.start(last) - tiles.start(first)) * lanes * sizeof(float);
  for (int64_t p = begin; p < end; ++p)
    multiply_panel(format, tiles, packed, first, last, p, out, reinterpret_cast<float*>(scratch), scratch + sums_bytes);
}

template <class Format>
inline void pack_tile(const Format& format, const Tiles& tiles, int64_t tile, uint8_t* packed) {
  format.pack(tiles.start(tile), tiles.height(tile), packed + tiles.offset(tile));
}

// Few rows: they are packed together, and threads share the panels.
template <class Format>
inline void multiply_few(const Format& format, const Tiles& tiles, const Output& out) {
  auto* packed = static_cast<uint8_t*>(shared_scratch(tiles.bytes()));
  const auto pack = [&](int64_t t) { pack_tile(format, tiles, t, packed); };
  if (static_cast<int64_t>(tiles.bytes()) < pack_alone) {
    for (int64_t t = 0; t < tiles.count; ++t) pack(t);
  } else {
    parallel_for(tiles.count, pack);
  }
  const int64_t panels = ceil_div(out.n, lanes), pieces = smaller(panels, num_threads() * tasks_per_thread);
  parallel_for(pieces, [&](int64_t piece) {
    auto* scratch = static_cast<uint8_t*>(thread_scratch(tiles.rows * lanes * sizeof(float) + format.scratch_bytes()));
    multiply_panels(format, tiles, packed, 0, tiles.count, panels * piece / pieces, panels * (piece + 1) / pieces, out,
                    scratch);
  });
}

// Many rows: threads share blocks of them, each packed by who multiplies it. With fewer blocks than threads, the panels
// are shared out, too. Tasks are large and as many for each thread: they end together.
template <class Format>
inline void multiply_many(const Format& format, const Tiles& tiles, const Output& out) {
  const int64_t threads = num_threads(), panels = ceil_div(out.n, lanes), least = ceil_div(tiles.bytes(), block_bytes);
  const int64_t blocks = least > threads ? ceil_div(least, threads) * threads : least;
  const int64_t pieces = smaller(panels, ceil_div(threads, blocks));
  parallel_for(blocks * pieces, [&](int64_t task) {
    const int64_t block = task / pieces, piece = task % pieces;
    const int64_t first = tiles.count * block / blocks, last = tiles.count * (block + 1) / blocks;
    const int64_t rows = tiles.start(last) - tiles.start(first);
    const int64_t bytes = ceil_div(tiles.offset(last) - tiles.offset(first), 64) * 64;  // sums behind them are aligned
    auto* own = static_cast<uint8_t*>(thread_scratch(bytes + rows * lanes * sizeof(float) + format.scratch_bytes()));
    uint8_t* packed = own - tiles.offset(first);
    for (int64_t t = first; t < last; ++t) pack_tile(format, tiles, t, packed);
    multiply_panels(format, tiles, packed, first, last, panels * piece / pieces, panels * (piece + 1) / pieces, out,
                    own + bytes);
  });
}

// All rows of x times all panels.
template <class Format>
inline void multiply(const Format& format, int64_t rows, const Output& out) {
  if (rows == 0) return;
  const Tiles tiles(rows, format);
  if (static_cast<int64_t>(tiles.bytes()) <= block_bytes) return multiply_few(format, tiles, out);
  multiply_many(format, tiles, out);
}

// ---- packing rows: [rows][units] -> [units][rows], in units of 32 bits

// load(row, unit, count): `count` units (at most W) of a row from `unit` on, zeros behind them. Writes up to W - rows
// units beyond the last.
template <class Load>
inline void interleave(int rows, int64_t units, uint32_t* out, Load load) {
  for (int64_t i = 0; i < units; i += W) {
    const int n = static_cast<int>(smaller(W, units - i));
    VecU v[W];
#pragma GCC unroll 16
    for (int r = 0; r < W; ++r) v[r] = r < rows ? load(r, i, n) : VecU{};
    transpose(v);
    for (int j = 0; j < n; ++j) *(VecUUnaligned*)(out + (i + j) * rows) = v[j];
  }
}

}  // namespace
}  // namespace PENSTOCK_ISA
}  // namespace penstock
