// Changes to rows of logits before a token is chosen, in place: see sampling/logits_processors.py.
#pragma once

#include "isa.h"

namespace penstock {

struct PenalizedRow {
  int64_t row;                     // of the logits
  int64_t slot;                    // of the table of tokens
  int64_t num_prompt, num_tokens;  // prompt; prompt and answer
};

struct Penalties {
  float repetition, frequency, presence;
};

struct Penalize {
  float* logits;  // [.., vocab]
  int64_t vocab;
  const int32_t* tokens;  // [slots, columns]
  int64_t columns;
  const PenalizedRow* rows;    // [count]
  const Penalties* penalties;  // [count]
  int64_t count;
};

struct AllowOnly {
  float* logits;  // [.., vocab]
  int64_t vocab;
  const int64_t* rows;  // [count]
  const int64_t* ends;  // [count]: where a row's ids end in `ids`
  const int64_t* ids;   // ascending within a row
  int64_t count;
};

PENSTOCK_KERNEL(penalize, Penalize)
PENSTOCK_KERNEL(allow_only, AllowOnly)

}  // namespace penstock
