#include "linear.h"

#include "bindings.h"

namespace penstock {

void bind_linear(nanobind::module_& m) {
  m.def(
      "linear",
      [](int type, int out_type, Address x, Address weight, Address bias, Address y, int64_t rows, int64_t n,
         int64_t k) {
        linear({static_cast<Type>(type), static_cast<Type>(out_type), at(x), at(weight), at(bias), at(y), rows, n, k});
      },
      NoGil());
  m.def(
      "pack_weight",
      [](int type, Address weight, int64_t panels, int64_t k) {
        pack_weight({static_cast<Type>(type), at(weight), panels, k});
      },
      NoGil());
  m.def(
      "take_rows",
      [](int type, Address weight, Address indices, Address out, int64_t rows, int64_t n, int64_t k) {
        for (int64_t i = 0; i < rows; ++i)
          if (at<int64_t>(indices)[i] < 0 || at<int64_t>(indices)[i] >= n) throw nanobind::index_error("no such row");
        take_rows({static_cast<Type>(type), at(weight), at<int64_t>(indices), at(out), rows, k});
      },
      NoGil());
}

}  // namespace penstock
