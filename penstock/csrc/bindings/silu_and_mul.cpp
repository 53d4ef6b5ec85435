#include "silu_and_mul.h"

#include "bindings.h"

namespace penstock {

void bind_silu_and_mul(nanobind::module_& m) {
  m.def(
      "silu_and_mul",
      [](int type, Address x, Address out, int64_t rows, int64_t width) {
        silu_and_mul({static_cast<Type>(type), at(x), at(out), rows, width});
      },
      NoGil());
}

}  // namespace penstock
