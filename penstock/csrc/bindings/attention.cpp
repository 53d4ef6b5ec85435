#include "attention.h"

#include "bindings.h"
#include "thread_pool.h"

namespace nb = nanobind;

namespace penstock {
namespace {

// The store of one layer, from how `kv_store` describes it and its memory.
KVStore of_layer(const KVStore& store, Address data) {
  KVStore layer = store;
  layer.data = at<char>(data);
  return layer;
}

void store_qkv_of(const KVStore& store, Address data, int type, Address qkv, Address q_weight, Address k_weight,
                  float eps, Address cos, Address sin, int64_t angles, Address slots, int64_t tokens,
                  int64_t query_heads) {
  store_qkv({of_layer(store, data), static_cast<Type>(type), at(qkv), at(q_weight), at(k_weight), eps, at<float>(cos),
             at<float>(sin), angles, at<int64_t>(slots), tokens, query_heads});
}

template <bool causal>
void attend(const KVStore& store, Address data, int type, Address q, int64_t q_stride, Address out, int64_t group,
            float scale, int64_t window, Address query_lens, Address context_lens, int64_t rows, Address tables,
            int64_t table_stride) {
  const auto plan = plan_attention(at<int32_t>(query_lens), at<int32_t>(context_lens), rows, group, store.heads, window,
                                   causal, num_threads());
  paged_attention({of_layer(store, data), static_cast<Type>(type), at(q), q_stride, at(out), group, scale, window, causal,
                   at<int32_t>(tables), table_stride, plan.items, plan.num_items, plan.merges, plan.num_merges,
                   plan.num_partials, plan.partial_rows});
}

}  // namespace

void bind_attention(nb::module_& m) {
  nb::class_<KVStore>(m, "KVStore")
      .def("__init__",
           [](KVStore* self, int type, int64_t heads, int64_t depth, int64_t block_size) {
             new (self) KVStore{static_cast<KVType>(type), heads, depth, block_size, nullptr};
           })
      .def("block_bytes", [](const KVStore& store) { return KVLayout(store).block_bytes(); });
  m.def("store_qkv", &store_qkv_of, NoGil());
  m.def("paged_attention", &attend<true>, NoGil());
  m.def("bidirectional_attention", &attend<false>, NoGil());
}

}  // namespace penstock
