// How a step's attention is shared out: blocks of tokens, the longest first, long ones cut along their keys if there
// are too few for the threads. How it is cut changes no bit of the result.
#include <algorithm>
#include <vector>

#include "attention.h"

namespace penstock {
namespace {

constexpr int64_t item_rows = 96;     // query rows (tokens * group) of a block
constexpr int64_t partial_rows = 32;  // blocks of more rows are not cut along their keys
constexpr int64_t shares = 6;         // a thread's work should be no less than this many items
constexpr int64_t tasks = 16;         // so many for each thread, or more, and they end together

struct Buffers {
  std::vector<AttentionItem> items, cut, merges;
};
thread_local Buffers buffers;

int64_t keys_of(const AttentionItem& item, int64_t window) {
  return std::min<int64_t>(item.stop_key, item.tokens + window - 1);
}

int64_t cost_of(const AttentionItem& item, int64_t window) {
  const int64_t runs = (item.stop_run - item.first_run) * run_tokens;
  return (item.tokens + 8) * (std::min(runs, keys_of(item, window)) + 32);
}

void cut_rows(const int32_t* query_lens, const int32_t* context_lens, int64_t rows, int64_t most, int64_t window,
              bool causal, std::vector<AttentionItem>& items) {
  int32_t token = 0;
  for (int32_t row = 0; row < rows; ++row) {
    // A row without a context is padding: it sees one token of the null block, so that its numbers are finite.
    int32_t position = std::max(0, context_lens[row] - query_lens[row]);
    for (int32_t left = query_lens[row]; left > 0;) {
      const int32_t count = static_cast<int32_t>(std::min<int64_t>(left, most));
      const int64_t first = std::max<int64_t>(0, position - window + 1);
      const int32_t last = position + count - 1;
      const int32_t stop = causal ? last + 1 : static_cast<int32_t>(std::min<int64_t>(context_lens[row], last + window));
      items.push_back({row, token, count, 0, 0, position, stop, static_cast<int32_t>(first / run_tokens),
                       static_cast<int32_t>((stop - 1) / run_tokens) + 1, -1});
      token += count, position += count, left -= count;
    }
  }
}

// An item for every `most` heads: one thread computes them after each other and fetches ahead from one to the next.
void cut_heads(AttentionItem item, int64_t heads, int64_t most, std::vector<AttentionItem>& items) {
  most = std::max<int64_t>(most, 1);
  const int64_t count = (heads + most - 1) / most;
  for (int64_t i = 0; i < count; ++i) {
    item.first_head = static_cast<int32_t>(heads * i / count);
    item.stop_head = static_cast<int32_t>(heads * (i + 1) / count);
    items.push_back(item);
  }
}

}  // namespace

AttentionPlan plan_attention(const int32_t* query_lens, const int32_t* context_lens, int64_t rows, int64_t group,
                             int64_t heads, int64_t window, bool causal, int threads) {
  auto& [items, cut, merges] = buffers;
  items.clear(), cut.clear(), merges.clear();
  cut_rows(query_lens, context_lens, rows, std::max<int64_t>(1, item_rows / group), window, causal, items);
  int64_t total = 0, num_partials = 0;
  for (const auto& item : items) total += cost_of(item, window) * heads;
  const int64_t share = total / (threads * shares), task = total / (threads * tasks);
  for (const auto& item : items) {
    const bool whole = threads == 1 || item.stop_run - item.first_run == 1 || item.tokens * group > partial_rows ||
                       cost_of(item, window) <= share;
    if (whole) {
      cut_heads(item, heads, task / cost_of(item, window), cut);
      continue;
    }
    AttentionItem run = item;
    run.partial = static_cast<int32_t>(num_partials);
    cut_heads(run, heads, 1, merges);
    for (run.first_run = item.first_run; run.first_run < item.stop_run; ++run.first_run) {
      run.stop_run = run.first_run + 1;
      run.partial = static_cast<int32_t>(num_partials++);
      cut_heads(run, heads, task / cost_of(run, window), cut);
    }
  }
  std::stable_sort(cut.begin(), cut.end(), [&](const AttentionItem& a, const AttentionItem& b) {
    return cost_of(a, window) > cost_of(b, window);
  });
  return {cut.data(),
          static_cast<int64_t>(cut.size()),
          merges.data(),
          static_cast<int64_t>(merges.size()),
          num_partials,
          std::max(partial_rows, group)};
}

}  // namespace penstock
