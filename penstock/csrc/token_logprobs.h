// Log probabilities of chosen and of the most likely tokens: see ops/token_logprobs.py.
#pragma once

#include "isa.h"

namespace penstock {

struct TokenLogprobs {
  const float* logits;     // [rows, vocab]
  const int64_t* tokens;   // [rows]
  const int64_t* num_top;  // [rows]; at most width - 1
  int64_t* ids;            // [rows, width]: the token, then num_top most likely ones; the rest is left alone
  float* logprobs;         // [rows, width]
  int64_t* ranks;          // [rows]: place of the token in the row's order, from 1
  int64_t rows, vocab, width;
};

PENSTOCK_KERNEL(token_logprobs, TokenLogprobs)

}  // namespace penstock
