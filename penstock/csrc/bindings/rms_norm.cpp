#include "rms_norm.h"

#include "bindings.h"

namespace penstock {

void bind_rms_norm(nanobind::module_& m) {
  m.def(
      "rms_norm",
      [](int type, Address x, Address residual, Address weight, Address out, int64_t rows, int64_t width, float eps) {
        rms_norm({static_cast<Type>(type), at(x), at(residual), at(weight), at(out), rows, width, eps});
      },
      NoGil());
}

}  // namespace penstock
