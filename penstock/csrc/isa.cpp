#include "isa.h"

namespace penstock {

bool machine_has(Isa isa) {
  switch (isa) {
    case Isa::plain:
      return true;
#if defined(__x86_64__) || defined(_M_X64)
    case Isa::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c") &&
             __builtin_cpu_supports("bmi2");
    case Isa::avx512:
      return machine_has(Isa::avx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512cd");
    case Isa::avx512_bf16:
      return machine_has(Isa::avx512) && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
#elif defined(__aarch64__)
    case Isa::neon:
      return true;
#endif
  }
  return false;
}

static Isa best_isa() {
  for (int i = num_isas - 1; i > 0; --i)
    if (machine_has(static_cast<Isa>(i))) return static_cast<Isa>(i);
  return Isa::plain;
}

static Isa current = best_isa();

Isa current_isa() { return current; }
void set_isa(Isa isa) { current = isa; }

}  // namespace penstock
