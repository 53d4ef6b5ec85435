// Norm and rotation of heads in float32, rounded once; then keys and values go to their places.
#include "attention.h"

#include "kv_codes.h"
#include "simd.h"
#include "thread_pool.h"
#include "transpose.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

constexpr int most_depth = 512;
constexpr int64_t task_elements = 1 << 13;
constexpr int64_t long_task = 64;  // tokens: of many, those of a unit, which share its lines, go to one thread

// One head in float32, zeros behind its end.
struct Head {
  alignas(64) float x[most_depth];
};

template <Type T>
inline void load_head(const Memory<T>* p, int64_t depth, Head& head) {
  int64_t i = 0;
  for (; i + W <= depth; i += W) store<Type::f32>(head.x + i, load<T>(p + i));
  if (i < depth) store<Type::f32>(head.x + i, load_part<T>(p + i, static_cast<int>(depth - i)));
}

template <Type T>
inline void norm(Head& head, const Memory<T>* weight, int64_t depth, float eps) {
  Vec squares{};
  for (int64_t i = 0; i < depth; i += W) {
    const Vec x = load<Type::f32>(head.x + i);
    squares = fma(x, x, squares);
  }
  const float scale = 1.0f / std::sqrt(sum(squares) / static_cast<float>(depth) + eps);
  int64_t i = 0;
  for (; i + W <= depth; i += W) store<Type::f32>(head.x + i, load<Type::f32>(head.x + i) * scale * load<T>(weight + i));
  if (i < depth) {
    const Vec w = load_part<T>(weight + i, static_cast<int>(depth - i));
    store<Type::f32>(head.x + i, load<Type::f32>(head.x + i) * scale * w);
  }
}

// The first 2 * angles elements; element i turns with element i + angles.
inline void rotate(Head& head, const float* cos, const float* sin, int64_t angles) {
  for (int64_t i = 0; i < angles; i += W) {
    const int n = static_cast<int>(angles - i < W ? angles - i : W);
    float *p = head.x + i, *q = head.x + angles + i;
    if (n == W) {
      const Vec a = load<Type::f32>(p), b = load<Type::f32>(q), c = load<Type::f32>(cos + i), s = load<Type::f32>(sin + i);
      store<Type::f32>(p, fma(a, c, -(b * s)));
      store<Type::f32>(q, fma(b, c, a * s));
      continue;
    }
    const Vec a = load_part<Type::f32>(p, n), b = load_part<Type::f32>(q, n);
    const Vec c = load_part<Type::f32>(cos + i, n), s = load_part<Type::f32>(sin + i, n);
    store_part<Type::f32>(p, fma(a, c, -(b * s)), n);
    store_part<Type::f32>(q, fma(b, c, a * s), n);
  }
}

template <Type T>
inline void store_head(const Head& head, int64_t depth, Memory<T>* p) {
  int64_t i = 0;
  for (; i + W <= depth; i += W) store<T>(p + i, load<Type::f32>(head.x + i));
  if (i < depth) store_part<T>(p + i, load<Type::f32>(head.x + i), static_cast<int>(depth - i));
}

// Memory never holds what is not finite: places that nobody wrote yet, or somebody else did, are multiplied by 0.
inline void make_finite(Head& head, int64_t depth, float limit) {
  for (int64_t i = 0; i < depth; i += W) {
    const Vec x = load<Type::f32>(head.x + i);
    const Vec bounded = min(max(x, splat(-limit)), splat(limit));
    store<Type::f32>(head.x + i, x - x == Vec{} ? bounded : Vec{});
  }
}

template <class Code>
inline float encode(const Head& head, int64_t depth, uint8_t* codes) {
  Vec most{};
  for (int64_t i = 0; i < depth; i += W) {
    const Vec x = load<Type::f32>(head.x + i);
    most = max(most, max(x, -x));
  }
  const float highest = max_of(most);
  const float scale = highest / Code::largest, inverse = highest > 1e-30f ? Code::largest / highest : 0.0f;
  for (int64_t i = 0; i < depth; ++i) codes[i] = Code::encode(head.x[i] * inverse);
  return scale;
}

// Where the elements of one token's head go: element i to places[i / step * row + i % step], counted in elements.
struct Target {
  char* first;
  int64_t row;
  float* scale;
};

inline Target key_target(const KVLayout& store, char* unit, int64_t lane) {
  auto* scales = reinterpret_cast<float*>(unit + store.key_bytes() + store.value_bytes());
  return {unit + lane * store.step() * store.bytes(), store.tokens() * store.step(), scales + lane};
}

inline Target value_target(const KVLayout& store, char* unit, int64_t lane) {
  char* values = unit + store.key_bytes();
  auto* scales = reinterpret_cast<float*>(values + store.value_bytes());
  const int64_t step = store.step();
  return {values + (lane / step * store.padded() * step + lane % step) * store.bytes(), step,
          scales + store.tokens() + lane};
}

// Keys: pairs lie together, a row of the unit apart. Values: elements lie `step` apart.
template <class M>
inline void scatter(const M* x, int64_t depth, const Target& to, int64_t pair) {
  auto* p = reinterpret_cast<M*>(to.first);
  if (pair == 1) {
    for (int64_t i = 0; i < depth; ++i) p[i * to.row] = x[i];
  } else {
    for (int64_t i = 0; i < depth / 2; ++i) std::memcpy(p + i * to.row, x + 2 * i, 2 * sizeof(M));
  }
}

void put(Head& head, int64_t depth, const KVLayout& store, const Target& to, int64_t pair) {
  alignas(64) uint16_t halves[most_depth];
  uint8_t codes[most_depth];
  switch (store.type) {
    case KVType::f32:
      make_finite(head, depth, 3.4028234e38f);
      return scatter(head.x, depth, to, pair);
    case KVType::bf16:
      make_finite(head, depth, 3.3895313e38f);
      store_head<Type::bf16>(head, depth, halves);
      return scatter(halves, depth, to, pair);
    case KVType::f16:
      make_finite(head, depth, 65504.0f);
      store_head<Type::f16>(head, depth, halves);
      return scatter(halves, depth, to, pair);
    default:
      make_finite(head, depth, 3.4028234e38f);
  }
  *to.scale = store.type == KVType::e4m3   ? encode<E4M3>(head, depth, codes)
              : store.type == KVType::e5m2 ? encode<E5M2>(head, depth, codes)
                                           : encode<Int8>(head, depth, codes);
  scatter(codes, depth, to, pair);
}

// A whole unit of one head, rounded to bfloat16.
struct Unit {
  alignas(64) uint16_t rows[unit_tokens][most_depth];
};

// To [depth / 2][tokens][2]: every line is written once.
inline void put_keys(const Unit& unit, int64_t depth, char* to) {
  auto* out = reinterpret_cast<uint32_t*>(to);
  for (int64_t i = 0; i < depth / 2; i += W) {
    for (int first = 0; first < unit_tokens; first += W) {
      VecU v[W];
#pragma GCC unroll 16
      for (int r = 0; r < W; ++r) v[r] = (VecU) * (const VecUUnaligned*)(unit.rows[first + r] + 2 * i);
      transpose(v);
      for (int j = 0; j < W && i + j < depth / 2; ++j)
        *(VecUUnaligned*)(out + (i + j) * unit_tokens + first) = v[j];
    }
  }
}

// To [tokens / 2][padded depth][2].
inline void put_values(const Unit& unit, int64_t padded, char* to) {
  auto* out = reinterpret_cast<uint32_t*>(to);
  for (int t = 0; t < unit_tokens; t += 2, out += padded) {
    for (int64_t i = 0; i < padded; i += W) {
      const Vec first = load<Type::bf16>(unit.rows[t] + i), second = load<Type::bf16>(unit.rows[t + 1] + i);
      *(VecUUnaligned*)(out + i) = (VecU)first >> 16 | (VecU)second;
    }
  }
}

template <Type T>
class Storing {
 public:
  explicit Storing(const StoreQKV& a) : a_(a), store_(a.store), all_heads_(a.query_heads + 2 * a.store.heads) {}

  // Tokens whose places follow each other in one unit, head by head: its lines are near while a head is stored.
  void store_run(int64_t start, int64_t stop) {
    const int64_t depth = store_.depth;
    const bool whole = store_.type == KVType::bf16 && stop - start == unit_tokens;
    for (int64_t h = 0; h < all_heads_; ++h) {
      const int64_t kv = h - a_.query_heads;
      const bool query = kv < 0, key = !query && kv < store_.heads;
      char* unit = query ? nullptr : store_.unit(a_.slots[start], kv % store_.heads);
      for (int64_t token = start; token < stop; ++token) {
        load_turned(token, h, query ? a_.q_weight : a_.k_weight, query || key);
        const int64_t lane = lane_of(token);
        if (query) {
          store_head<T>(head_, depth, at(token, h));
        } else if (whole) {
          make_finite(head_, depth, 3.3895313e38f);
          for (int64_t i = 0; i < store_.padded(); i += W)
            store<Type::bf16>(unit_.rows[lane] + i, load<Type::f32>(head_.x + i));
        } else if (key) {
          put(head_, depth, store_, key_target(store_, unit, lane), store_.step());
        } else {
          put(head_, depth, store_, value_target(store_, unit, lane), 1);
        }
      }
      if (whole && key) put_keys(unit_, depth, unit);
      if (whole && !query && !key) put_values(unit_, store_.padded(), unit + store_.key_bytes());
    }
  }

  // How many tokens from `start` on, below `stop`, have places that follow each other in one unit.
  int64_t run(int64_t start, int64_t stop) const {
    const int64_t most = start + store_.tokens() - lane_of(start);
    int64_t end = start + 1;
    while (end < stop && end < most && a_.slots[end] == a_.slots[end - 1] + 1) ++end;
    return end - start;
  }

 private:
  int64_t lane_of(int64_t token) const { return a_.slots[token] % store_.block_size % store_.tokens(); }
  Memory<T>* at(int64_t token, int64_t h) const {
    return static_cast<Memory<T>*>(a_.qkv) + (token * all_heads_ + h) * store_.depth;
  }

  void load_turned(int64_t token, int64_t h, const void* weight, bool turned) {
    load_head<T>(at(token, h), store_.depth, head_);
    if (!turned) return;
    if (weight) norm<T>(head_, static_cast<const Memory<T>*>(weight), store_.depth, a_.eps);
    rotate(head_, a_.cos + token * a_.angles, a_.sin + token * a_.angles, a_.angles);
  }

  const StoreQKV& a_;
  const KVLayout store_;
  const int64_t all_heads_;
  Head head_{};
  Unit unit_;
};

}  // namespace

void store_qkv(const StoreQKV& a) {
  const int64_t width = (a.query_heads + 2 * a.store.heads) * a.store.depth;
  const int64_t per_task = a.tokens >= 4 * long_task * num_threads() ? long_task : task_elements / width + 1;
  parallel_for((a.tokens + per_task - 1) / per_task, [&](int64_t task) {
    const int64_t start = task * per_task;
    const int64_t stop = start + per_task < a.tokens ? start + per_task : a.tokens;
    PENSTOCK_WITH_TYPE(a.type, {
      Storing<T> storing(a);
      for (int64_t t = start, n; t < stop; t += n) {
        n = storing.run(t, stop);
        storing.store_run(t, t + n);
      }
    })
  });
}

}  // namespace PENSTOCK_ISA
}  // namespace penstock
