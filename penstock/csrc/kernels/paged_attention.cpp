// Online softmax (https://arxiv.org/abs/1805.02867) over tiles of 64 keys at absolute positions. Scores are kept times
// log2(e), so that weights are powers of 2.
#include "attention.h"

#include "attention_products.h"
#include "kv_tile.h"
#include "thread_pool.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

constexpr float never = -1e30f;  // the highest score before any key was seen; finite, so that differences are
constexpr float log2_e = 1.44269504f;
constexpr int64_t run_tiles = run_tokens / tile_tokens;
constexpr int tile_vectors = tile_tokens / W;

inline float highest_of(Vec x) {
#pragma GCC unroll 4
  for (int half = W / 2; half > 0; half /= 2) x = max(x, __builtin_shuffle(x, lane_numbers() ^ half));
  return x[0];
}

// 2^x within 2 units in the last place; 0 below -126, exactly 1 for 0. The polynomial fits 2^x on -1/2..1/2.
inline Vec exp2(Vec x) {
#if defined(__AVX512F__)
  const Vec n = (Vec)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  const Vec shift = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
  const Vec bounded = min(max(x, splat(-127.0f)), splat(128.0f));
  const Vec n = (bounded + shift) - shift;
#endif
  const Vec r = x - n;
  Vec p = splat(1.326472731e-3f);
  p = fma(p, r, splat(9.671512991e-3f));
  p = fma(p, r, splat(5.550733581e-2f));
  p = fma(p, r, splat(2.402224243e-1f));
  p = fma(p, r, splat(6.931470037e-1f));
  p = fma(p, r, splat(1.0f));
#if defined(__AVX512F__)
  return x < -126.0f ? Vec{} : (Vec)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  const VecI whole = __builtin_convertvector(n, VecI), half = whole >> 1;
  const Vec first = (Vec)((half + 127) << 23), second = (Vec)((whole - half + 127) << 23);
  return x < -126.0f ? Vec{} : p * first * second;
#endif
}

// What is known of some rows after some keys: the highest score, and sums of weights relative to it.
struct Sums {
  float* high;    // [rows]
  float* norm;    // [rows][norm_width]
  float* values;  // [rows][width]
};

struct Scratch {
  char* next;
  template <class T>
  T* take(int64_t count) {
    T* p = reinterpret_cast<T*>(next);
    next += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return p;
  }
};

struct Row {
  int first, stop;  // keys of the tile that it sees
};

inline Row seen(int64_t position, int64_t stop_key, int64_t tile_start, int64_t window) {
  const int64_t first = position - window + 1 - tile_start, stop = stop_key - tile_start;
  return {static_cast<int>(first < 0 ? 0 : first), static_cast<int>(stop > tile_tokens ? tile_tokens : stop)};
}

inline float power_of_2(float x) { return exp2(splat(x))[0]; }

// Turns a row's scores of a tile into weights, and adds them to the row's norm. Returns what earlier sums fade by.
template <class F>
inline float weigh(float* score, const Row& row, const Tile& tile, float& high, float* norm,
                   typename F::Element* weights) {
  Vec s[tile_vectors];
  const bool all = row.first == 0 && row.stop == tile_tokens;
  Vec best = splat(never);
  const int stop = all ? tile_vectors : (row.stop + W - 1) / W;
  const VecI lane = lane_numbers();
  for (int v = 0; v < stop; ++v) {
    s[v] = load<Type::f32>(score + v * W);
    if (tile.key_scales) s[v] *= load<Type::f32>(tile.key_scales + v * W);
    if (!all) s[v] = (lane + v * W >= row.first) & (lane + v * W < row.stop) ? s[v] : splat(-INFINITY);
    best = max(best, s[v]);
  }
  const float highest = highest_of(best), now = highest > high ? highest : high;
  const float fade = now == high ? 1.0f : power_of_2(high - now);
  Vec total{};
  for (int v = 0; v < tile_vectors; ++v) {
    s[v] = v < stop ? exp2(s[v] - now) : Vec{};
    total += s[v];
    if (tile.value_scales && v < stop) s[v] *= load<Type::f32>(tile.value_scales + v * W);
  }
  for (int v = 0; v < tile_vectors; v += 2) store_elements<F>(weights + v * W, s[v], s[v + 1]);
  store<Type::f32>(norm, fma(load<Type::f32>(norm), splat(fade), total));
  high = now;
  return fade;
}

template <class F>
class Item {
 public:
  Item(const PagedAttention& a, const AttentionItem& item)
      : a_(a), item_(item), rows_(item.tokens * a.group), width_(KVLayout(a.store).padded()), tiles_(KVLayout(a.store)) {
    Scratch scratch{static_cast<char*>(thread_scratch(scratch_bytes()))};
    q_ = scratch.take<typename F::Element>(rows_ * a.store.depth);
    run_ = take_sums(scratch, W);
    all_ = take_sums(scratch, 1);
    tiles_.use(scratch.take<char>(tiles_.scratch_bytes()));
    tiles_.find(a.tables + item.row * a.table_stride);
    const int64_t seen_tile = (item.position - a.window + 1) / tile_tokens;  // not above 0 if it sees the first one
    const int64_t last_tile = (item.stop_key - 1) / tile_tokens;
    first_tile_ = seen_tile > item.first_run * run_tiles ? seen_tile : item.first_run * run_tiles;
    stop_tile_ = last_tile < item.stop_run * run_tiles ? last_tile + 1 : item.stop_run * run_tiles;
  }

  void compute(float* partials, int64_t partial_floats) {
    for (head_ = item_.first_head; head_ < item_.stop_head; ++head_) compute_head(partials, partial_floats);
  }

  // The runs that other items left in `partials`, in order.
  void merge_partials(float* partials, int64_t partial_floats) {
    for (head_ = item_.first_head; head_ < item_.stop_head; ++head_) {
      clear(all_, 1);
      for (int64_t run = item_.first_run; run < item_.stop_run; ++run) {
        float* p = partials + ((item_.partial + run - item_.first_run) * a_.store.heads + head_) * partial_floats;
        const Sums kept{p, p + rows_, p + 2 * rows_};
        for (int64_t r = 0; r < rows_; ++r) merge(r, kept);
      }
      write_output();
    }
  }

 private:
  void compute_head(float* partials, int64_t partial_floats) {
    load_queries();
    const bool alone = item_.partial < 0 && item_.stop_run - item_.first_run == 1;
    if (item_.partial < 0 && !alone) clear(all_, 1);
    for (int64_t run = item_.first_run; run < item_.stop_run; ++run) {
      clear(run_, W);
      add_run(run);
      for (int64_t r = 0; r < rows_; ++r) run_.norm[r] = sum(load<Type::f32>(run_.norm + r * W));
      if (alone) {
        all_ = run_;  // what adding it to nothing gives
      } else if (item_.partial < 0) {
        for (int64_t r = 0; r < rows_; ++r) merge(r, run_);
      } else {
        keep(partials + (item_.partial * a_.store.heads + head_) * partial_floats);
      }
    }
    if (item_.partial < 0) write_output();
  }

  Sums take_sums(Scratch& scratch, int64_t norm_width) const {
    return {scratch.take<float>(rows_), scratch.take<float>(rows_ * norm_width), scratch.take<float>(rows_ * width_)};
  }

  int64_t scratch_bytes() const {
    return rows_ * (a_.store.depth + 2 * width_ + W + 3) * 4 + tiles_.scratch_bytes() + 8 * 64;
  }

  void clear(const Sums& sums, int64_t norm_width) const {
    for (int64_t r = 0; r < rows_; ++r) sums.high[r] = never;
    zero(sums.norm, rows_ * norm_width);
    zero(sums.values, rows_ * width_);
  }

  static void zero(float* p, int64_t count) { std::memset(p, 0, static_cast<size_t>(count < 0 ? 0 : count) * 4); }

  void load_queries() {
    const int64_t depth = a_.store.depth, size = a_.group * depth;
    PENSTOCK_WITH_TYPE(a_.type, {
      for (int64_t t = 0; t < item_.tokens; ++t) {
        const auto* from = static_cast<const Memory<T>*>(a_.q) + (item_.first_token + t) * a_.q_stride + head_ * size;
        auto* to = q_ + t * size;
        if constexpr (T == Type::bf16 && sizeof(typename F::Element) == 2) {
          std::memcpy(to, from, size * 2);
        } else if constexpr (sizeof(typename F::Element) == 2) {
          for (int64_t i = 0; i < size; ++i) to[i] = to_bf16(Element<T>::load(from + i));
        } else {
          for (int64_t i = 0; i < size; ++i) to[i] = Element<T>::load(from + i);
        }
      }
    })
  }

  void add_run(int64_t run) {
    int64_t tile = run * run_tiles, stop = tile + run_tiles;
    if (tile < first_tile_) tile = first_tile_;
    if (stop > stop_tile_) stop = stop_tile_;
    for (; tile < stop; ++tile) add_tile(tile);
  }

  void add_tile(int64_t index) {
    const int64_t start = index * tile_tokens, last = item_.stop_key - 1;
    // Rows see a tile one after the other: those before see nothing of it yet, those behind nothing any more.
    int64_t token = start - item_.position - (a_.causal ? 0 : a_.window - 1), stop = start + tile_tokens - 1 + a_.window - item_.position;
    if (token < 0) token = 0;
    if (stop > item_.tokens) stop = item_.tokens;
    // What this thread computes next: the following tile, or the first one of the following head.
    const bool last_tile = index + 1 == stop_tile_;
    bool fetch = !(last_tile && head_ + 1 == item_.stop_head);
    Next next;
    if (fetch) next = tiles_.next(head_ + last_tile, (last_tile ? first_tile_ : index + 1) * tile_tokens, last);
    const Tile tile = tiles_.load(head_, start, last);
    for (int64_t r = token * a_.group; r < stop * a_.group;) {
      const int count = rows_at_once(stop * a_.group - r);
      PENSTOCK_WITH_ROWS(count, fetch ? add_rows<R, true>(r, start, tile, next)
                                      : add_rows<R, false>(r, start, tile, next))
      fetch = false;
      r += count;
    }
  }

  Row seen_by(int64_t token, int64_t tile_start) const {
    const int64_t position = item_.position + token;
    const int64_t ahead = position + (a_.causal ? 1 : a_.window);
    return seen(position, ahead < item_.stop_key ? ahead : item_.stop_key, tile_start, a_.window);
  }

  template <int R, bool fetch>
  void add_rows(int64_t r, int64_t start, const Tile& tile, const Next& next) {
    alignas(64) float score[R * tile_tokens];
    alignas(64) typename F::Element weights[R * tile_tokens];
    float fade[R];
    const int64_t depth = a_.store.depth;
    const Row last = seen_by((r + R - 1) / a_.group, start);
    const int units = static_cast<int>((last.stop + unit_tokens - 1) / unit_tokens);
    multiply_keys<F, R, fetch>(units, q_ + r * depth, tile.keys, next, depth, a_.scale * log2_e, score);
    for (int i = 0; i < R; ++i) {
      const Row row = seen_by((r + i) / a_.group, start);
      fade[i] = weigh<F>(score + i * tile_tokens, row, tile, run_.high[r + i], run_.norm + (r + i) * W,
                         weights + i * tile_tokens);
    }
    multiply_values<F, R, fetch>(width_, weights, tile.values, next, units, fade, run_.values + r * width_);
  }

  // Adds a run's sums of a row to those of all runs. A run in which the row saw nothing is left out.
  void merge(int64_t r, const Sums& run) {
    if (run.norm[r] == 0.0f) return;
    const float now = run.high[r] > all_.high[r] ? run.high[r] : all_.high[r];
    const float old = power_of_2(all_.high[r] - now), fresh = power_of_2(run.high[r] - now);
    all_.high[r] = now;
    all_.norm[r] = fma(splat(all_.norm[r]), splat(old), splat(run.norm[r] * fresh))[0];
    float* sums = all_.values + r * width_;
    for (int64_t i = 0; i < width_; i += W)
      store<Type::f32>(sums + i, fma(load<Type::f32>(sums + i), splat(old),
                                     load<Type::f32>(run.values + r * width_ + i) * fresh));
  }

  void keep(float* p) const {
    std::memcpy(p, run_.high, rows_ * 4);
    std::memcpy(p + rows_, run_.norm, rows_ * 4);
    std::memcpy(p + 2 * rows_, run_.values, rows_ * width_ * 4);
  }

  void write_output() const {
    const int64_t depth = a_.store.depth, size = a_.group * depth;
    PENSTOCK_WITH_TYPE(a_.type, {
      for (int64_t r = 0; r < rows_; ++r) {
        auto* out = static_cast<Memory<T>*>(a_.out) +
                    ((item_.first_token + r / a_.group) * a_.store.heads + head_) * size + r % a_.group * depth;
        const float* sums = all_.values + r * width_;
        const float share = 1.0f / all_.norm[r];
        int64_t i = 0;  // adding 0 makes a -0 of any origin 0
        for (; i + W <= depth; i += W) store<T>(out + i, load<Type::f32>(sums + i) * share + 0.0f);
        if (i < depth) store_part<T>(out + i, load<Type::f32>(sums + i) * share + 0.0f, static_cast<int>(depth - i));
      }
    })
  }

  const PagedAttention& a_;
  const AttentionItem& item_;
  const int64_t rows_, width_;
  int64_t head_ = 0, first_tile_, stop_tile_;
  Tiles tiles_;
  typename F::Element* q_;
  Sums run_, all_;
};

template <class F>
void attend(const PagedAttention& a) {
  const int64_t heads = a.store.heads, partial_floats = a.partial_rows * (KVLayout(a.store).padded() + 2);
  float* partials = nullptr;
  if (a.num_partials) partials = static_cast<float*>(shared_scratch(a.num_partials * heads * partial_floats * 4));
  parallel_for(a.num_items, [&](int64_t i) { Item<F>(a, a.items[i]).compute(partials, partial_floats); });
  if (!a.num_merges) return;
  parallel_for(a.num_merges, [&](int64_t i) { Item<F>(a, a.merges[i]).merge_partials(partials, partial_floats); });
}

}  // namespace

void paged_attention(const PagedAttention& a) {
  switch (a.store.type) {
    case KVType::f32: return attend<F32>(a);
    case KVType::f16: return attend<F16>(a);
    default: return attend<Bf16>(a);
  }
}

}  // namespace PENSTOCK_ISA
}  // namespace penstock
