#include "silu_and_mul.h"

#include "simd.h"
#include "thread_pool.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

constexpr int64_t task_elements = 1 << 13;

inline Vec activated(Vec gate, Vec up) { return gate / (exp(-gate) + 1.0f) * up; }

template <Type T>
void row(const Memory<T>* gate, const Memory<T>* up, Memory<T>* out, int64_t width) {
  int64_t i = 0;
  for (; i + W <= width; i += W) store<T>(out + i, activated(load<T>(gate + i), load<T>(up + i)));
  if (i < width) {
    const int n = static_cast<int>(width - i);
    store_part<T>(out + i, activated(load_part<T>(gate + i, n), load_part<T>(up + i, n)), n);
  }
}

}  // namespace

void silu_and_mul(const SiluAndMul& a) {
  const int64_t rows_per_task = task_elements / a.width + 1;
  parallel_for((a.rows + rows_per_task - 1) / rows_per_task, [&](int64_t task) {
    const int64_t start = task * rows_per_task, stop = start + rows_per_task < a.rows ? start + rows_per_task : a.rows;
    for (int64_t r = start; r < stop; ++r) {
      PENSTOCK_WITH_TYPE(a.type, {
        const auto* x = static_cast<const Memory<T>*>(a.x) + 2 * r * a.width;
        row<T>(x, x + a.width, static_cast<Memory<T>*>(a.out) + r * a.width, a.width);
      })
    }
  });
}

}  // namespace PENSTOCK_ISA
}  // namespace penstock
