// One token per row of logits, the most likely or a drawn one: see ops/choose_tokens.py.
#pragma once

#include "isa.h"

namespace penstock {

struct ChooseTokens {
  const float* logits;       // [rows, vocab]
  const float* temperature;  // [rows]; 0 takes the most likely token
  const float* min_p;        // [rows]
  const int64_t* top_k;      // [rows]; 0 is off
  const double* top_p;       // [rows]
  const double* uniform;     // [rows]
  int64_t* tokens;           // [rows]; -1 where none can be chosen
  int64_t rows, vocab;
};

PENSTOCK_KERNEL(choose_tokens, ChooseTokens)

}  // namespace penstock
