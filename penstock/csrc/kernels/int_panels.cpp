// Making and reading the panels of int_linear.h.
#include "int_linear.h"
#include "int_rows.h"
#include "thread_pool.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

constexpr int64_t lanes = 32;

// Where a row's numbers begin in its panel. Four of them lie together, `quad` bytes from the next four.
uint8_t* row_of(const IntPanels& w, int64_t row) { return w.data + row / lanes * w.panel_bytes() + row % lanes * 4; }
constexpr int64_t quad = 4 * lanes;

float round_scale(float x, Type type) {
  if (type == Type::bf16) return from_bf16(to_bf16(x));
  if (type == Type::f16) return from_f16(to_f16(x));
  return x;
}

template <Type T>
void quantize_row(const QuantizeWeight& a, int64_t row) {
  const int64_t groups = (a.k + a.group - 1) / a.group;
  const auto levels = static_cast<float>(a.levels);
  for (int64_t g = 0; g < groups; ++g) {
    const auto* x = static_cast<const Memory<T>*>(a.x) + row * a.k + g * a.group;
    int8_t* numbers = a.numbers + row * a.k + g * a.group;
    const int64_t n = a.k - g * a.group < a.group ? a.k - g * a.group : a.group;
    const float scale = round_scale(largest<T>(x, n) / levels, a.scale_type);
    a.scales[row * groups + g] = scale;
    for (int64_t i = 0; i < n; i += W) {
      const int part = static_cast<int>(n - i < W ? n - i : W);
      int8_t bytes[W];
      const Vec v = scale > 0.0f ? load_part<T>(x + i, part) / scale : Vec{};
      narrow(whole(max(min(v, splat(levels)), splat(-levels))), bytes);
      std::memcpy(numbers + i, bytes, part);
    }
  }
}

void fill_row(const FillPanels& a, int64_t i) {
  const IntPanels& w = a.weight;
  const int8_t* numbers = a.numbers + i * w.k;
  uint8_t* to = row_of(w, a.first + i);
  for (int64_t start = 0; start < w.k; start += w.group, to += w.group_bytes()) {
    const auto at = [&](int64_t k) { return start + k < w.k ? numbers[start + k] : 0; };
    if (w.bits == 8) {
      for (int64_t k = 0; k < w.group; ++k) to[k / 4 * quad + k % 4] = static_cast<uint8_t>(at(k) + 128);
    } else {
      for (int64_t k = 0; k < w.group; k += 8)
        for (int64_t j = 0; j < 4; ++j)
          to[k / 8 * quad + j] = static_cast<uint8_t>(((at(k + j) + 8) & 15) | (at(k + j + 4) + 8) << 4);
    }
  }
}

template <Type T>
void take_row(const TakePanelRows& a, int64_t i) {
  const IntPanels& w = a.weight;
  const uint8_t* from = row_of(w, a.indices[i]);
  auto* out = static_cast<Memory<T>*>(a.out) + i * w.k;
  float scale;
  std::memcpy(&scale, from + w.group * lanes, 4);  // a lane has four bytes here, too
  for (int64_t k = 0; k < w.k; ++k) {
    const int number = from[k / 4 * quad + k % 4] - 128;
    Element<T>::store(out + k, static_cast<float>(number) * scale);
  }
}

template <class Row>
void for_rows(int64_t rows, Row row) {
  parallel_for((rows + lanes - 1) / lanes, [&](int64_t task) {
    for (int64_t i = task * lanes; i < (task + 1) * lanes && i < rows; ++i) row(i);
  });
}

}  // namespace

void quantize_weight(const QuantizeWeight& a) {
  PENSTOCK_WITH_TYPE(a.type, for_rows(a.rows, [&](int64_t row) { quantize_row<T>(a, row); }))
}

void fill_panels(const FillPanels& a) {
  for_rows(a.rows, [&](int64_t row) { fill_row(a, row); });
}

void take_panel_rows(const TakePanelRows& a) {
  PENSTOCK_WITH_TYPE(a.type, for_rows(a.rows, [&](int64_t i) { take_row<T>(a, i); }))
}

}  // namespace PENSTOCK_ISA
}  // namespace penstock
