#include "bindings.h"
#include "choose_tokens.h"
#include "edit_logits.h"
#include "token_logprobs.h"

namespace penstock {

void bind_sampling(nanobind::module_& m) {
  m.def(
      "choose_tokens",
      [](Address logits, Address temperature, Address min_p, Address top_k, Address top_p, Address uniform,
         Address tokens, int64_t rows, int64_t vocab) {
        choose_tokens({at<float>(logits), at<float>(temperature), at<float>(min_p), at<int64_t>(top_k),
                       at<double>(top_p), at<double>(uniform), at<int64_t>(tokens), rows, vocab});
      },
      NoGil());
  m.def(
      "token_logprobs",
      [](Address logits, Address tokens, Address num_top, Address ids, Address logprobs, Address ranks, int64_t rows,
         int64_t vocab, int64_t width) {
        token_logprobs({at<float>(logits), at<int64_t>(tokens), at<int64_t>(num_top), at<int64_t>(ids),
                        at<float>(logprobs), at<int64_t>(ranks), rows, vocab, width});
      },
      NoGil());
  m.def(
      "penalize",
      [](Address logits, int64_t vocab, Address tokens, int64_t columns, Address rows, Address penalties,
         int64_t count) {
        penalize({at<float>(logits), vocab, at<int32_t>(tokens), columns, at<PenalizedRow>(rows),
                  at<Penalties>(penalties), count});
      },
      NoGil());
  m.def(
      "allow_only",
      [](Address logits, int64_t vocab, Address rows, Address ends, Address ids, int64_t count) {
        allow_only({at<float>(logits), vocab, at<int64_t>(rows), at<int64_t>(ends), at<int64_t>(ids), count});
      },
      NoGil());
}

}  // namespace penstock
