// Norm and rotation of heads in float32, rounded once; then keys and values go to their places.
#include "attention.h"

#include "kv_codes.h"
#include "simd.h"
#include "thread_pool.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

constexpr int most_depth = 512;
constexpr int64_t task_elements = 1 << 13;

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

template <Type T>
void store_token(const StoreQKV& a, int64_t token, Head& head) {
  const KVLayout store(a.store);
  const int64_t depth = store.depth, place = a.slots[token], lane = place % store.block_size % store.tokens();
  auto* x = static_cast<Memory<T>*>(a.qkv) + token * (a.query_heads + 2 * store.heads) * depth;
  const float *cos = a.cos + token * a.angles, *sin = a.sin + token * a.angles;
  for (int64_t h = 0; h < a.query_heads; ++h, x += depth) {
    load_head<T>(x, depth, head);
    if (a.q_weight) norm<T>(head, static_cast<const Memory<T>*>(a.q_weight), depth, a.eps);
    rotate(head, cos, sin, a.angles);
    store_head<T>(head, depth, x);
  }
  for (int64_t h = 0; h < store.heads; ++h, x += depth) {
    load_head<T>(x, depth, head);
    if (a.k_weight) norm<T>(head, static_cast<const Memory<T>*>(a.k_weight), depth, a.eps);
    rotate(head, cos, sin, a.angles);
    put(head, depth, store, key_target(store, store.unit(place, h), lane), store.step());
  }
  for (int64_t h = 0; h < store.heads; ++h, x += depth) {
    load_head<T>(x, depth, head);
    put(head, depth, store, value_target(store, store.unit(place, h), lane), 1);
  }
}

}  // namespace

void store_qkv(const StoreQKV& a) {
  const int64_t width = (a.query_heads + 2 * a.store.heads) * a.store.depth;
  const int64_t tokens_per_task = task_elements / width + 1;
  parallel_for((a.tokens + tokens_per_task - 1) / tokens_per_task, [&](int64_t task) {
    Head head{};
    const int64_t start = task * tokens_per_task;
    const int64_t stop = start + tokens_per_task < a.tokens ? start + tokens_per_task : a.tokens;
    for (int64_t t = start; t < stop; ++t) PENSTOCK_WITH_TYPE(a.type, store_token<T>(a, t, head))
  });
}

}  // namespace PENSTOCK_ISA
}  // namespace penstock
