#include "rms_norm.h"

#include "simd.h"
#include "thread_pool.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

constexpr int64_t task_elements = 1 << 13;
constexpr int lanes = 4;  // sums that run side by side: the order of the additions depends on the width alone

template <Type T>
inline Vec rounded(Vec x) {  // as if it had been in memory
  if constexpr (T == Type::f32) return x;
  if constexpr (T == Type::bf16) return widen_bf16(narrow_bf16(x));
  Memory<T> buffer[W];
  store<T>(buffer, x);
  return load<T>(buffer);
}

// x + residual, which is stored back, or x where there is no residual.
template <Type T, bool Add>
inline Vec total(const Memory<T>* x, Memory<T>* residual) {
  if constexpr (!Add) return load<T>(x);
  const Vec sum = load<T>(x) + load<T>(residual);
  store<T>(residual, sum);
  return rounded<T>(sum);
}

template <Type T, bool Add>
inline Vec total_part(const Memory<T>* x, Memory<T>* residual, int n) {
  if constexpr (!Add) return load_part<T>(x, n);
  const Vec sum = load_part<T>(x, n) + load_part<T>(residual, n);
  store_part<T>(residual, sum, n);
  return rounded<T>(sum);
}

template <Type T, bool Add>
float sum_of_squares(const Memory<T>* x, Memory<T>* residual, int64_t width) {
  Vec sums[lanes] = {};
  int64_t i = 0;
  for (; i + lanes * W <= width; i += lanes * W) {
    for (int lane = 0; lane < lanes; ++lane) {
      const Vec v = total<T, Add>(x + i + lane * W, residual + i + lane * W);
      sums[lane] = fma(v, v, sums[lane]);
    }
  }
  for (; i + W <= width; i += W) {
    const Vec v = total<T, Add>(x + i, residual + i);
    sums[0] = fma(v, v, sums[0]);
  }
  if (i < width) {
    const Vec v = total_part<T, Add>(x + i, residual + i, static_cast<int>(width - i));
    sums[1] = fma(v, v, sums[1]);
  }
  return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

template <Type T, bool Add>
void row(const Memory<T>* x, Memory<T>* residual, const Memory<T>* weight, Memory<T>* out, const RmsNorm& a) {
  const float mean = sum_of_squares<T, Add>(x, residual, a.width) / static_cast<float>(a.width);
  const Vec scale = splat(1.0f / std::sqrt(mean + a.eps));
  const Memory<T>* normed = Add ? residual : x;
  int64_t i = 0;
  for (; i + W <= a.width; i += W)
    store<T>(out + i, rounded<T>(load<T>(normed + i) * scale) * load<T>(weight + i));
  if (i < a.width) {
    const int n = static_cast<int>(a.width - i);
    store_part<T>(out + i, rounded<T>(load_part<T>(normed + i, n) * scale) * load_part<T>(weight + i, n), n);
  }
}

}  // namespace

void rms_norm(const RmsNorm& a) {
  const int64_t rows_per_task = task_elements / a.width + 1;
  parallel_for((a.rows + rows_per_task - 1) / rows_per_task, [&](int64_t task) {
    const int64_t start = task * rows_per_task, stop = start + rows_per_task < a.rows ? start + rows_per_task : a.rows;
    PENSTOCK_WITH_TYPE(a.type, {
      const auto* x = static_cast<const Memory<T>*>(a.x);
      auto* residual = static_cast<Memory<T>*>(a.residual);
      const auto* weight = static_cast<const Memory<T>*>(a.weight);
      auto* out = static_cast<Memory<T>*>(a.out);
      for (int64_t at = start * a.width; at < stop * a.width; at += a.width) {
        if (residual)
          row<T, true>(x + at, residual + at, weight, out + at, a);
        else
          row<T, false>(x + at, nullptr, weight, out + at, a);
      }
    })
  });
}

}  // namespace PENSTOCK_ISA
}  // namespace penstock
