#include "int_linear.h"

#include "bindings.h"

namespace penstock {

void bind_int_linear(nanobind::module_& m) {
  nanobind::class_<IntPanels>(m, "IntPanels")  // made once for a weight: a call then needs few arguments
      .def("__init__",
           [](IntPanels* self, int bits, int scale_type, int64_t n, int64_t k, int64_t group, Address data) {
             new (self) IntPanels{bits, static_cast<Type>(scale_type), n, k, group, at<uint8_t>(data)};
           });
  m.def(
      "int_linear",
      [](const IntPanels& weight, int type, int out_type, Address x, Address bias, Address y, int64_t rows) {
        int_linear({weight, static_cast<Type>(type), static_cast<Type>(out_type), at(x), at(bias), at(y), rows});
      },
      NoGil());
  m.def(
      "quantize_weight",
      [](int type, Address x, Address numbers, Address scales, int64_t rows, int64_t k, int64_t group, int levels,
         int scale_type) {
        quantize_weight({static_cast<Type>(type), at(x), at<int8_t>(numbers), at<float>(scales), rows, k, group, levels,
                         static_cast<Type>(scale_type)});
      },
      NoGil());
  m.def(
      "fill_panels",
      [](const IntPanels& weight, Address numbers, int64_t first, int64_t rows) {
        fill_panels({weight, at<int8_t>(numbers), first, rows});
      },
      NoGil());
  m.def(
      "take_panel_rows",
      [](const IntPanels& weight, int type, Address indices, Address out, int64_t rows) {
        for (int64_t i = 0; i < rows; ++i)
          if (at<int64_t>(indices)[i] < 0 || at<int64_t>(indices)[i] >= weight.n)
            throw nanobind::index_error("no such row");
        take_panel_rows({weight, static_cast<Type>(type), at<int64_t>(indices), at(out), rows});
      },
      NoGil());
}

}  // namespace penstock
