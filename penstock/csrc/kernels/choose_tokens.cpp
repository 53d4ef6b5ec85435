#include "choose_tokens.h"

#include <cfloat>

#include "vocab_row.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

constexpr int64_t no_token = -1;
constexpr int64_t few_items = 4096;  // so many are sorted
constexpr int bin_bits = 11;
constexpr float sharpest = 1e30f;  // largest scale: keeps 0 * scale a number

// The last token, in the row's order, that may be drawn.
struct Cut {
  float value;
  int64_t id;
};

struct Lanes {
  int32_t at[W];
};
constexpr Lanes lanes() {
  Lanes l = {};
  for (int i = 0; i < W; ++i) l.at[i] = i;
  return l;
}

int64_t first_max(const VocabRow& row) {
  int64_t b = 0;
  while (row.maxima[b] != row.max) ++b;
  const float* x = row.x + b * block_size;
  int64_t i = 0;
  while (x[i] != row.max) ++i;
  return b * block_size + i;
}

// Weights of a block's tokens, 0 for those after the cut; returns their sum.
float kept_weights(const VocabRow& row, int64_t b, Cut cut, float* out) {
  static constexpr Lanes first = lanes();
  float buffer[block_size];
  const float* x = row.block(b, buffer);
  Vec total = {};
  for (int64_t i = 0; i < block_size; i += W) {
    const Vec v = load<Type::f32>(x + i);
    const VecI ids = (VecI) * (const VecIUnaligned*)first.at + static_cast<int32_t>(b * block_size + i);
    const VecI kept = (v > cut.value) | ((v == cut.value) & (ids <= static_cast<int32_t>(cut.id)));
    const Vec w = (Vec)((VecI)row.weights(v) & kept);
    store<Type::f32>(out + i, w);
    total += w;
  }
  return sum(total);
}

// Recomputes the sums of blocks without the tokens after the cut; returns the whole row's.
double keep(const VocabRow& row, Cut cut) {
  float weights[block_size];
  double total = 0.0;
  for (int64_t b = 0; b < row.blocks; ++b) {
    row.sums[b] = row.maxima[b] >= cut.value ? kept_weights(row, b, cut, weights) : 0.0f;
    total += row.sums[b];
  }
  return total;
}

// The place among items in order at which their weights reach `mass`; the last one if they do not. `total` is what
// came before, and in the end what came to the place.
int64_t reach(const VocabRow& row, Head items, double mass, double& total) {
  float w[W];
  for (int64_t start = 0; start < items.n; start += W) {
    const int n = static_cast<int>(items.n - start < W ? items.n - start : W);
    for (int i = 0; i < W; ++i) w[i] = value_of_item(items.items[start + (i < n ? i : 0)]);
    store<Type::f32>(w, row.weights(load<Type::f32>(w)));
    for (int i = 0; i < n; ++i) {
      total += w[i];
      if (total >= mass) return start + i;
    }
  }
  return items.n - 1;
}

Cut cut_after(Head items, int64_t place) {
  return {value_of_item(items.items[place]), id_of(items.items[place])};
}

// Narrows low..high to a part that holds the place where weights, added from the top, come to `mass`. `before` is the
// weight of what lies above `high`.
void narrow(const VocabRow& row, float& low, float& high, double& before, double mass) {
  double bins[1 << bin_bits] = {};
  const uint32_t from = order_of(low), to = order_of(high);
  int shift = 0;
  while ((to - from) >> shift >> bin_bits) ++shift;
  float buffer[block_size], w[W];
  uint32_t bin[W];
  for (int64_t b = 0; b < row.blocks; ++b) {
    if (!(row.maxima[b] >= low)) continue;
    const float* x = row.block(b, buffer);
    for (int64_t i = 0; i < block_size; i += W) {
      const Vec v = load<Type::f32>(x + i);
      uint32_t bits = bits_of((v >= low) & (v <= high));
      if (!bits) continue;
      store<Type::f32>(w, row.weights(v));
      for (int lane = 0; lane < W; ++lane) bin[lane] = (to - order_of(x[i + lane])) >> shift;
      for (; bits; bits &= bits - 1) bins[bin[__builtin_ctz(bits)]] += w[__builtin_ctz(bits)];
    }
  }
  int64_t found = 0;
  for (int64_t i = 0; i < 1 << bin_bits; ++i) {
    if (bins[i] == 0.0) continue;
    found = i;
    if (before + bins[i] >= mass) break;
    before += bins[i];
  }
  const int64_t lowest = static_cast<int64_t>(to) - ((found + 1) << shift) + 1;
  low = value_of(lowest > from ? static_cast<uint32_t>(lowest) : from);
  high = value_of(to - static_cast<uint32_t>(found << shift));
}

// Where the row's weights, added in order, come to `mass`, all of it at or above `low`. Ranges of values are narrowed
// by their weights until the tokens in one are few, or all equal.
Cut find_cut(const VocabRow& row, float low, double mass, uint64_t* scratch) {
  float high = row.max;
  double before = 0.0, of_maxima = 0.0;
  const Head maxima = sorted_maxima(row, scratch);
  const float bound = value_of_item(maxima.items[reach(row, maxima, mass, of_maxima)]);
  if (of_maxima >= mass && bound > low) low = bound;  // so the tokens from there on weigh no less
  while (true) {
    const int64_t capacity = low == high ? row.size : few_items;
    const int64_t n = collect(row, low, high, scratch, capacity);
    if (n <= capacity) {
      const Head items = {low == high ? scratch : sorted(scratch, scratch + row.size, n), n};
      return cut_after(items, reach(row, items, mass, before));
    }
    narrow(row, low, high, before, mass);
  }
}

// The token at which the sums of blocks, and in its block the weights, first exceed this share of their total.
int64_t pick(const VocabRow& row, Cut cut, double uniform, double total) {
  const double target = uniform * total;
  double before = 0.0, below = 0.0;  // of the block that is looked at, of the chosen one
  int64_t chosen = no_token;
  for (int64_t b = 0; b < row.blocks; ++b) {
    if (!(row.sums[b] > 0.0f)) continue;
    chosen = b;
    below = before;
    before += row.sums[b];
    if (before > target) break;
  }
  if (chosen == no_token) return no_token;
  float w[block_size];
  kept_weights(row, chosen, cut, w);
  double block_total = 0.0, reached = 0.0;
  for (const float x : w) block_total += x;
  const double rest = (target - below) / row.sums[chosen] * block_total;
  int64_t token = no_token;
  for (int64_t i = 0; i < block_size; ++i) {
    if (w[i] == 0.0f) continue;
    token = chosen * block_size + i;
    reached += w[i];
    if (reached > rest) break;
  }
  return token;
}

int64_t choose(VocabRow& row, const ChooseTokens& a, int64_t index) {
  if (!find_max(row)) return no_token;
  if (a.temperature[index] == 0.0f) return first_max(row);
  const float min_p = a.min_p[index];
  const int64_t top_k = a.top_k[index];
  const double top_p = a.top_p[index];
  Cut cut = {-FLT_MAX, INT32_MAX};
  double total = align_sums(row);
  if (min_p > 0.0f) {
    const double floor = row.max + std::log(static_cast<double>(min_p)) / row.scale;
    cut.value = floor > -FLT_MAX ? static_cast<float>(floor) : -FLT_MAX;
    total = keep(row, cut);
  }
  if (top_k > 0) {
    const Head kept = head(row, top_k, cut.value, static_cast<uint64_t*>(thread_scratch(2 * row.size * 8)));
    double mass = 0.0, limit = 0.0;
    reach(row, kept, INFINITY, mass);
    cut = cut_after(kept, top_p < 1.0 ? reach(row, kept, top_p * mass, limit) : kept.n - 1);
  } else if (top_p < 1.0) {
    // All tokens below this one together weigh less than what top_p leaves out.
    const double floor = row.max + std::log((1.0 - top_p) * total / row.size) / row.scale * 1.0001;
    if (floor > cut.value) cut.value = static_cast<float>(floor);
    cut = find_cut(row, cut.value, top_p * total, static_cast<uint64_t*>(thread_scratch(2 * row.size * 8)));
  }
  if (top_k > 0 || top_p < 1.0) total = keep(row, cut);
  return pick(row, cut, a.uniform[index], total);
}

}  // namespace

void choose_tokens(const ChooseTokens& a) {
  const auto row_of = [&](int64_t index, int64_t blocks, float* stats) {
    const float scale = 1.0f / a.temperature[index];
    return VocabRow{a.logits + index * a.vocab, a.vocab, blocks, stats, stats + blocks,
                    scale < sharpest ? scale : sharpest, 0.0f};
  };
  for_rows(
      a.rows, a.vocab, row_of, [&](int64_t index) { return a.temperature[index] != 0.0f; },
      [&](VocabRow& row, int64_t index) { a.tokens[index] = choose(row, a, index); });
}

}  // namespace PENSTOCK_ISA
}  // namespace penstock
