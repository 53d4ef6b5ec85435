// Paged attention and what surrounds it: see attention/packed.py.
#pragma once

#include "isa.h"
#include "kv_store.h"
#include "types.h"

namespace penstock {

// Norms and rotates the query heads of a fused product in place, and stores its keys and values.
struct StoreQKV {
  KVStore store;
  Type type;
  void* qkv;               // [tokens, (query heads + 2 * heads) * depth]
  const void* q_weight;    // [depth] of a norm on each head, or null
  const void* k_weight;
  float eps;
  const float *cos, *sin;  // [tokens, angles]
  int64_t angles;
  const int64_t* slots;    // [tokens]
  int64_t tokens, query_heads;
};

PENSTOCK_KERNEL(store_qkv, StoreQKV)

// Scores, weights and sums are kept apart for every so many keys and then added up in order: each run of keys can be
// given to another thread, and whether it is does not change a bit.
constexpr int64_t run_tokens = 1024;

// Some tokens of one batch row and some heads against some runs of keys.
struct AttentionItem {
  int32_t row, first_token, tokens;
  int32_t first_head, stop_head;
  int32_t position;             // of the first token
  int32_t stop_key;             // one behind the last key that any of its tokens sees
  int32_t first_run, stop_run;
  int32_t partial;              // where the sums of the first run go, -1: this item has all runs and writes the output
};

struct PagedAttention {
  KVStore store;
  Type type;
  const void* q;                // [tokens, query heads * depth], rows q_stride apart
  int64_t q_stride;
  void* out;                    // [tokens, query heads * depth]
  int64_t group;                // query heads per head
  float scale;
  int64_t window;               // how many tokens back, itself included, a token sees
  bool causal;                  // a token does not see those behind it; otherwise as many as back
  const int32_t* tables;        // block tables, one row for each batch row
  int64_t table_stride;
  const AttentionItem* items;
  int64_t num_items;
  const AttentionItem* merges;  // tokens and heads whose runs were given to several items
  int64_t num_merges;
  int64_t num_partials, partial_rows;  // runs that are kept apart, and the most rows of one
};

PENSTOCK_KERNEL(paged_attention, PagedAttention)

// Cuts a step of `rows` batch rows into items, for a number of threads. `call` uses what it is given at once.
struct AttentionPlan {
  const AttentionItem* items;
  int64_t num_items;
  const AttentionItem* merges;
  int64_t num_merges, num_partials, partial_rows;
};
AttentionPlan plan_attention(const int32_t* query_lens, const int32_t* context_lens, int64_t rows, int64_t group,
                             int64_t heads, int64_t window, bool causal, int threads);

}  // namespace penstock
