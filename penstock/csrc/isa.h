// Instruction sets this library was built for, and the one in use. Kernels are compiled once for each.
#pragma once

#include <cstdint>

// Best last. PENSTOCK_EACH_ISA(X) expands X(name) for every set that this build contains.
#if defined(__x86_64__) || defined(_M_X64)
#define PENSTOCK_EACH_ISA(X) X(plain) X(avx2) X(avx512) X(avx512_bf16)
#elif defined(__aarch64__)
#define PENSTOCK_EACH_ISA(X) X(plain) X(neon)
#else
#define PENSTOCK_EACH_ISA(X) X(plain)
#endif

namespace penstock {

enum class Isa : int {
#define PENSTOCK_NAME(name) name,
  PENSTOCK_EACH_ISA(PENSTOCK_NAME)
#undef PENSTOCK_NAME
};

constexpr const char* isa_names[] = {
#define PENSTOCK_NAME(name) #name,
    PENSTOCK_EACH_ISA(PENSTOCK_NAME)
#undef PENSTOCK_NAME
};
constexpr int num_isas = sizeof(isa_names) / sizeof(isa_names[0]);

bool machine_has(Isa isa);
Isa current_isa();
void set_isa(Isa isa);

}  // namespace penstock

// PENSTOCK_KERNEL(scale, ScaleArgs) declares penstock::<isa>::scale(const ScaleArgs&) for every instruction set, to be
// defined in kernels/*.cpp inside `namespace penstock::PENSTOCK_ISA`, and penstock::scale, which calls the one in use.
#define PENSTOCK_DECLARE_ONE(isa, name, Args) \
  namespace isa {                             \
  void name(const Args& args);                \
  }
#define PENSTOCK_KERNEL(name, Args) \
  PENSTOCK_DECLARE_ALL(name, Args)  \
  static inline void name(const Args& args) { PENSTOCK_CALL_CURRENT(name) }

#if defined(__x86_64__) || defined(_M_X64)
#define PENSTOCK_DECLARE_ALL(name, Args)     \
  PENSTOCK_DECLARE_ONE(plain, name, Args)    \
  PENSTOCK_DECLARE_ONE(avx2, name, Args)     \
  PENSTOCK_DECLARE_ONE(avx512, name, Args)   \
  PENSTOCK_DECLARE_ONE(avx512_bf16, name, Args)
#define PENSTOCK_CALL_CURRENT(name)                                  \
  switch (current_isa()) {                                           \
    case Isa::plain: return plain::name(args);                       \
    case Isa::avx2: return avx2::name(args);                         \
    case Isa::avx512: return avx512::name(args);                     \
    case Isa::avx512_bf16: return avx512_bf16::name(args);           \
  }
#elif defined(__aarch64__)
#define PENSTOCK_DECLARE_ALL(name, Args)  \
  PENSTOCK_DECLARE_ONE(plain, name, Args) \
  PENSTOCK_DECLARE_ONE(neon, name, Args)
#define PENSTOCK_CALL_CURRENT(name)            \
  switch (current_isa()) {                     \
    case Isa::plain: return plain::name(args); \
    case Isa::neon: return neon::name(args);   \
  }
#else
#define PENSTOCK_DECLARE_ALL(name, Args) PENSTOCK_DECLARE_ONE(plain, name, Args)
#define PENSTOCK_CALL_CURRENT(name) return plain::name(args);
#endif
