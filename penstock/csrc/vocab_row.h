// A row of logits over the vocabulary, looked at in blocks of tokens: maxima and sums of blocks, and the head of the
// row's order without sorting the row. The order is total: larger values first, equal values by token id.
//
// Only for kernels/*.cpp. A row's results depend on that row alone; blocks lie at fixed places, so several threads may
// scan parts of one row.
#pragma once

#include "simd.h"
#include "thread_pool.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

constexpr int64_t block_size = 128;

struct VocabRow {
  const float* x;
  int64_t size, blocks;
  float* maxima;  // [blocks]; NaN for a block with a NaN
  float* sums;    // [blocks]
  float scale;    // 1 / temperature
  float max;      // of the row; known after find_max

  // A block's logits: block_size of them, the last block filled up with -inf.
  const float* block(int64_t b, float* buffer) const {
    const float* start = x + b * block_size;
    const int64_t n = size - b * block_size;
    if (n >= block_size) return start;
    std::memcpy(buffer, start, n * sizeof(float));
    for (int64_t i = n; i < block_size; ++i) buffer[i] = -INFINITY;
    return buffer;
  }

  Vec weights(Vec logits) const { return exp((logits - max) * scale); }
};

// Fills maxima of some blocks and, if asked for, their sums of e^((x - block's maximum) * scale).
inline void scan(const VocabRow& row, int64_t first, int64_t last, bool with_sums) {
  float buffer[block_size];
  for (int64_t b = first; b < last; ++b) {
    const float* x = row.block(b, buffer);
    Vec best = load<Type::f32>(x);
    VecI nan = best != best;
    for (int64_t i = W; i < block_size; i += W) {
      const Vec v = load<Type::f32>(x + i);
      best = max(best, v);
      nan |= v != v;
    }
    row.maxima[b] = bits_of(nan) ? NAN : max_of(best);
    if (!with_sums) continue;
    Vec total = {};
    const Vec shift = splat(row.maxima[b] == -INFINITY ? 0.0f : row.maxima[b]);
    for (int64_t i = 0; i < block_size; i += W) total += exp((load<Type::f32>(x + i) - shift) * row.scale);
    row.sums[b] = sum(total);
  }
}

// Sets the row's maximum, NaN if anything in the row is; says whether it is a number that is not infinite.
inline bool find_max(VocabRow& row) {
  row.max = -INFINITY;
  for (int64_t b = 0; b < row.blocks && row.max == row.max; ++b)
    if (!(row.maxima[b] <= row.max)) row.max = row.maxima[b];
  return row.max - row.max == 0.0f;
}

// Makes the sums of blocks relative to the row's maximum; returns the whole row's.
inline double align_sums(const VocabRow& row) {
  double total = 0.0;
  for (int64_t b = 0; b < row.blocks; b += W) {
    const int n = static_cast<int>(row.blocks - b < W ? row.blocks - b : W);
    store_part<Type::f32>(row.sums + b, load_part<Type::f32>(row.sums + b, n) *
                          row.weights(load_part<Type::f32>(row.maxima + b, n)), n);
  }
  for (int64_t b = 0; b < row.blocks; ++b) total += row.sums[b];
  return total;
}

// ---- order

inline uint32_t order_of(float x) {  // ascends with x; 0 and -0 are equal
  const float y = x + 0.0f;
  int32_t bits;
  std::memcpy(&bits, &y, 4);
  return static_cast<uint32_t>(bits ^ ((bits >> 31) | INT32_MIN));
}

inline float value_of(uint32_t order) {
  const uint32_t bits = order & 0x80000000u ? order ^ 0x80000000u : ~order;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

// A token as a number that ascends in the row's order.
inline uint64_t item_of(float x, int64_t id) {
  return static_cast<uint64_t>(~order_of(x)) << 32 | static_cast<uint32_t>(id);
}
inline int64_t id_of(uint64_t item) { return static_cast<int64_t>(item & 0xffffffffu); }
inline float value_of_item(uint64_t item) { return value_of(~static_cast<uint32_t>(item >> 32)); }

// Tokens with low <= logit <= high, by ascending id. Returns how many; if more than `capacity`, any number above it.
inline int64_t collect(const VocabRow& row, float low, float high, uint64_t* items, int64_t capacity) {
  float buffer[block_size];
  int64_t n = 0;
  for (int64_t b = 0; b < row.blocks; ++b) {
    if (!(row.maxima[b] >= low)) continue;
    const float* x = row.block(b, buffer);
    for (int64_t i = 0; i < block_size; i += W) {
      const Vec v = load<Type::f32>(x + i);
      for (uint32_t bits = bits_of((v >= low) & (v <= high)); bits; bits &= bits - 1) {
        const int64_t at = i + __builtin_ctz(bits), id = b * block_size + at;
        if (id >= row.size) return n;
        if (n == capacity) return n + 1;
        items[n++] = item_of(x[at], id);
      }
    }
  }
  return n;
}

// Sorts items that ascend by id. Returns where they are: `items` or `spare`, both as long.
inline uint64_t* sorted(uint64_t* items, uint64_t* spare, int64_t n) {
  if (n <= 48) {
    for (int64_t i = 1; i < n; ++i) {
      const uint64_t item = items[i];
      int64_t at = i;
      for (; at > 0 && items[at - 1] > item; --at) items[at] = items[at - 1];
      items[at] = item;
    }
    return items;
  }
  constexpr int digit = 11, passes = 3;  // of the value's 32 bits; the order by id is there already, and stays
  uint32_t starts[passes][1 << digit] = {};
  for (int64_t i = 0; i < n; ++i)
    for (int p = 0; p < passes; ++p) ++starts[p][items[i] >> (32 + p * digit) & ((1 << digit) - 1)];
  for (int p = 0; p < passes; ++p) {
    uint32_t before = 0;
    for (uint32_t& start : starts[p]) {
      const uint32_t count = start;
      start = before;
      before += count;
    }
    for (int64_t i = 0; i < n; ++i) spare[starts[p][items[i] >> (32 + p * digit) & ((1 << digit) - 1)]++] = items[i];
    uint64_t* const next = spare;
    spare = items;
    items = next;
  }
  return items;
}

struct Head {
  const uint64_t* items;  // in order
  int64_t n;
};

// The maxima of blocks in order, numbered by block: each is a token's logit, and the head of the row's order is often
// among them. Scratch: 2 * row.size items.
inline Head sorted_maxima(const VocabRow& row, uint64_t* scratch) {
  for (int64_t b = 0; b < row.blocks; ++b) scratch[b] = item_of(row.maxima[b], b);
  return {sorted(scratch, scratch + row.size, row.blocks), row.blocks};
}

// The first `count` tokens in order, fewer if fewer have logits of at least `low`. Scratch: 2 * row.size items.
inline Head head(const VocabRow& row, int64_t count, float low, uint64_t* scratch) {
  if (count <= row.blocks) {  // at least `count` tokens are not below the count-th largest of the maxima
    const float bound = value_of_item(sorted_maxima(row, scratch).items[count - 1]);
    low = bound > low ? bound : low;
  }
  const int64_t n = collect(row, low, INFINITY, scratch, row.size);
  return {sorted(scratch, scratch + row.size, n), n < count ? n : count};
}

// ---- work on many rows

// Scans all rows, then calls finish(row, index) for each: row after row, or the scan in parts where rows are few.
// row_of(index, maxima_and_sums) makes a row, with_sums(index) says what to scan.
template <class RowOf, class WithSums, class Finish>
inline void for_rows(int64_t rows, int64_t vocab, RowOf&& row_of, WithSums&& with_sums, Finish&& finish) {
  const int64_t blocks = (vocab + block_size - 1) / block_size;
  float* const stats = static_cast<float*>(shared_scratch(2 * rows * blocks * sizeof(float)));
  const auto make = [&](int64_t index) { return row_of(index, blocks, stats + 2 * index * blocks); };
  constexpr int64_t part = 64;  // blocks
  const int64_t parts = (blocks + part - 1) / part;
  const bool few = rows < 2 * num_threads();
  if (few) {
    parallel_for(rows * parts, [&](int64_t task) {
      const int64_t first = task % parts * part, last = first + part < blocks ? first + part : blocks;
      scan(make(task / parts), first, last, with_sums(task / parts));
    });
  }
  parallel_for(rows, [&](int64_t index) {
    VocabRow row = make(index);
    if (!few) scan(row, 0, blocks, with_sums(index));
    finish(row, index);
  });
}

}  // namespace
}  // namespace PENSTOCK_ISA
}  // namespace penstock
