// The Python module penstock.ops._kernels.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "bindings/bindings.h"
#include "isa.h"
#include "thread_pool.h"

namespace nb = nanobind;
using namespace penstock;

NB_MODULE(_kernels, m) {
  m.def("isas", [] {  // those that this machine can run, the best last
    std::vector<std::string> names;
    for (int i = 0; i < num_isas; ++i)
      if (machine_has(static_cast<Isa>(i))) names.emplace_back(isa_names[i]);
    return names;
  });
  m.def("isa", [] { return std::string(isa_names[static_cast<int>(current_isa())]); });
  m.def("set_isa", [](const std::string& name) {
    for (int i = 0; i < num_isas; ++i)
      if (name == isa_names[i] && machine_has(static_cast<Isa>(i))) return set_isa(static_cast<Isa>(i));
    throw std::invalid_argument(name);
  });
  m.def(
      "set_num_threads",
      [](int count, const std::vector<std::vector<int>>& cores) {
        std::vector<int> cpus, sizes;
        for (const auto& core : cores) {
          cpus.insert(cpus.end(), core.begin(), core.end());
          sizes.push_back(static_cast<int>(core.size()));
        }
        nb::gil_scoped_release nogil;
        set_num_threads(count, cpus.data(), sizes.data(), static_cast<int>(sizes.size()));
      },
      nb::arg("count"), nb::arg("cores") = std::vector<std::vector<int>>());
  m.def("num_threads", &num_threads);

  bind_attention(m);
  bind_linear(m);
  bind_rms_norm(m);
  bind_sampling(m);
  bind_silu_and_mul(m);
  bind_int_linear(m);
}
