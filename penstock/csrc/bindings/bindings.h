// Each bindings/<op>.cpp adds its functions to the Python module. Tensors come as addresses: Python has checked types
// and shapes (ops/<op>.py does), and a call costs a tenth of a microsecond.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>

#include "types.h"

namespace penstock {

using Address = uintptr_t;

template <class T = void>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

// A kernel runs without the interpreter's lock: other Python threads go on.
using NoGil = nanobind::call_guard<nanobind::gil_scoped_release>;

void bind_attention(nanobind::module_& m);
void bind_linear(nanobind::module_& m);
void bind_rms_norm(nanobind::module_& m);
void bind_sampling(nanobind::module_& m);
void bind_silu_and_mul(nanobind::module_& m);
void bind_int_linear(nanobind::module_& m);

}  // namespace penstock
