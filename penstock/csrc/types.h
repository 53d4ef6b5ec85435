// Number types of tensors, as Python passes them (ops/kernels.py holds the same numbers).
#pragma once

#include <cstdint>

namespace penstock {

enum class Type : int { f32 = 0, bf16 = 1, f16 = 2 };

}  // namespace penstock

// Runs the statement with the constexpr Type T equal to the runtime value `type`.
#define PENSTOCK_WITH_TYPE(type, ...)      \
  switch (type) {                          \
    case ::penstock::Type::f32: {          \
      constexpr auto T = Type::f32;        \
      __VA_ARGS__;                         \
    } break;                               \
    case ::penstock::Type::bf16: {         \
      constexpr auto T = Type::bf16;       \
      __VA_ARGS__;                         \
    } break;                               \
    case ::penstock::Type::f16: {          \
      constexpr auto T = Type::f16;        \
      __VA_ARGS__;                         \
    } break;                               \
  }
