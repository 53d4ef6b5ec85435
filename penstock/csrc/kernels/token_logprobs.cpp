#include "token_logprobs.h"

#include "vocab_row.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

int64_t rank_of(const VocabRow& row, int64_t token) {
  const float value = row.x[token];
  float buffer[block_size];
  int64_t ahead = 0;
  for (int64_t b = 0; b < row.blocks; ++b) {
    if (!(row.maxima[b] >= value)) continue;
    const float* x = row.block(b, buffer);
    for (int64_t i = 0; i < block_size; i += W) {
      const Vec v = load<Type::f32>(x + i);
      const int64_t left = token - (b * block_size + i);  // how many of these come before the token
      const uint32_t earlier = left <= 0 ? 0u : left >= W ? ~0u : (1u << left) - 1;
      ahead += __builtin_popcount(bits_of(v > value) | (bits_of(v == value) & earlier));
    }
  }
  return ahead + 1;
}

void finish(VocabRow& row, const TokenLogprobs& a, int64_t index) {
  int64_t* ids = a.ids + index * a.width;
  float* logprobs = a.logprobs + index * a.width;
  find_max(row);
  const double log_total = row.max + std::log(align_sums(row));
  ids[0] = a.tokens[index];
  logprobs[0] = static_cast<float>(row.x[ids[0]] - log_total);
  a.ranks[index] = rank_of(row, ids[0]);
  const int64_t wanted = a.num_top[index];
  if (wanted == 0) return;
  const Head top = head(row, wanted, -INFINITY, static_cast<uint64_t*>(thread_scratch(2 * row.size * 8)));
  for (int64_t i = 0; i < wanted; ++i) {  // a row with NaN has fewer
    ids[i + 1] = i < top.n ? id_of(top.items[i]) : 0;
    logprobs[i + 1] = static_cast<float>(row.x[ids[i + 1]] - log_total);
  }
}

}  // namespace

void token_logprobs(const TokenLogprobs& a) {
  const auto row_of = [&](int64_t index, int64_t blocks, float* stats) {
    return VocabRow{a.logits + index * a.vocab, a.vocab, blocks, stats, stats + blocks, 1.0f, 0.0f};
  };
  for_rows(a.rows, a.vocab, row_of, [](int64_t) { return true; },
           [&](VocabRow& row, int64_t index) { finish(row, a, index); });
}

}  // namespace PENSTOCK_ISA
}  // namespace penstock
