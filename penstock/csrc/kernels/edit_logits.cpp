#include "edit_logits.h"

#include "vocab_row.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

// Rounded by itself: fused into the subtraction that follows, it would not have the twin's bits.
__attribute__((noinline)) float product(float a, float b) { return a * b; }

// Calls change(logit, count) for every distinct token that has a logit.
template <class Change>
void each_distinct(const int32_t* tokens, int64_t n, float* logits, int64_t vocab, Change&& change) {
  uint64_t* const items = static_cast<uint64_t*>(thread_scratch(2 * n * sizeof(uint64_t)));
  for (int64_t i = 0; i < n; ++i) items[i] = static_cast<uint64_t>(static_cast<uint32_t>(tokens[i])) << 32;
  const uint64_t* const in_order = sorted(items, items + n, n);
  for (int64_t i = 0, next; i < n; i = next) {
    for (next = i + 1; next < n && in_order[next] == in_order[i];) ++next;
    const int64_t token = static_cast<int64_t>(in_order[i] >> 32);
    if (token < vocab) change(logits[token], static_cast<float>(next - i));
  }
}

void penalize_row(const int32_t* tokens, PenalizedRow at, Penalties p, float* logits, int64_t vocab) {
  if (p.repetition != 1.0f) {
    each_distinct(tokens, at.num_tokens, logits, vocab,
                  [&](float& x, float) { x = x > 0.0f ? x / p.repetition : x * p.repetition; });
  }
  if (p.frequency != 0.0f || p.presence != 0.0f) {
    each_distinct(tokens + at.num_prompt, at.num_tokens - at.num_prompt, logits, vocab,
                  [&](float& x, float count) { x = x - product(p.frequency, count) - p.presence; });
  }
}

}  // namespace

void penalize(const Penalize& a) {
  parallel_for(a.count, [&](int64_t i) {
    const PenalizedRow& at = a.rows[i];
    penalize_row(a.tokens + at.slot * a.columns, at, a.penalties[i], a.logits + at.row * a.vocab, a.vocab);
  });
}

void allow_only(const AllowOnly& a) {
  parallel_for(a.count, [&](int64_t i) {
    float* const x = a.logits + a.rows[i] * a.vocab;
    int64_t next = 0;
    for (int64_t e = i ? a.ends[i - 1] : 0; e < a.ends[i]; ++e) {
      for (; next < a.ids[e]; ++next) x[next] = -INFINITY;
      next = a.ids[e] + 1;
    }
    for (; next < a.vocab; ++next) x[next] = -INFINITY;
  });
}

}  // namespace PENSTOCK_ISA
}  // namespace penstock
