// Tiles of keys and values as the products of attention take them: units of 16 tokens, each in one piece. Native types
// are used where they lie; 8-bit codes, and units of 8 tokens, are copied. Only for kernels/*.cpp.
#pragma once

#include "attention_products.h"
#include "kv_codes.h"
#include "kv_store.h"

namespace penstock {
namespace PENSTOCK_ISA {
namespace {

struct Tile {
  const char *keys[tile_units], *values[tile_units];
  const float *key_scales, *value_scales;  // [tile_tokens] or null
};

class Tiles {
 public:
  explicit Tiles(const KVLayout& store)
      : store_(store),
        parts_(static_cast<int>(unit_tokens / store_.tokens())),
        out_bytes_(store.type == KVType::f32 ? 4 : 2),
        copies_(store.coded() || parts_ > 1) {}

  int64_t scratch_bytes() const {
    return copies_ ? tile_tokens * ((store_.depth + store_.padded()) * out_bytes_ + 8) : 0;
  }
  void use(char* scratch) { scratch_ = scratch; }
  void find(const int32_t* table) { table_ = table; }

  // Units of a head's tile that starts at `start`, those up to token `last` of the row.
  Tile load(int64_t head, int64_t start, int64_t last) const {
    Tile tile;
    tile.key_scales = tile.value_scales = nullptr;
    for (int u = 0; u < tile_units; ++u) {
      const int64_t token = start + u * unit_tokens;
      if (token > last) {
        tile.keys[u] = tile.values[u] = tile.keys[0];
      } else if (copies_) {
        copy(head, token, last, u, tile);
      } else {
        tile.keys[u] = unit(head, token);
        tile.values[u] = tile.keys[u] + store_.key_bytes();
      }
    }
    return tile;
  }

  // The units of a tile that is needed next. Those of 8-bit codes are shorter than what is fetched for each: it goes on
  // into the units behind them, which mostly are the next ones.
  Next next(int64_t head, int64_t start, int64_t last) const {
    Next next;
    for (int u = 0; u < tile_units; ++u) {
      const int64_t token = start + u * unit_tokens;
      next.units[u] = token > last ? next.units[0] : unit(head, token);
    }
    return next;
  }

 private:
  const char* unit(int64_t head, int64_t token) const {
    const int64_t size = store_.block_size;
    return store_.unit(table_[token / size] * size + token % size, head);
  }

  // Puts unit u of the tile together in the scratch memory.
  void copy(int64_t head, int64_t token, int64_t last, int u, Tile& tile) const {
    const int64_t key_bytes = unit_tokens * store_.depth * out_bytes_;
    const int64_t value_bytes = unit_tokens * store_.padded() * out_bytes_;
    char* keys = scratch_ + u * key_bytes;
    char* values = scratch_ + tile_units * key_bytes + u * value_bytes;
    float* scales = reinterpret_cast<float*>(scratch_ + tile_units * (key_bytes + value_bytes));
    tile.keys[u] = keys, tile.values[u] = values;
    if (store_.coded()) tile.key_scales = scales, tile.value_scales = scales + tile_tokens;
    const int64_t tokens = store_.tokens();
    for (int part = 0; part < parts_; ++part) {
      const int64_t at = token + part * tokens;
      const char* from = at > last ? nullptr : unit(head, at);
      copy_keys(from, keys, part);
      copy_values(from, values + part * (value_bytes / parts_), value_bytes / parts_);
      if (!store_.coded()) continue;
      float* to = scales + u * unit_tokens + part * tokens;
      copy_scales(from, to, 0);
      copy_scales(from, to + tile_tokens, 1);
    }
  }

  void copy_keys(const char* from, char* to, int part) const {
    const int64_t row = store_.tokens() * store_.step();  // elements
    if (parts_ == 1) return widen(from, to, store_.depth / store_.step() * row);
    for (int64_t k = 0; k < store_.depth / store_.step(); ++k)
      widen(from ? from + k * row * store_.bytes() : nullptr, to + (k * parts_ + part) * row * out_bytes_, row);
  }

  void copy_values(const char* from, char* to, int64_t bytes) const {
    widen(from ? from + store_.key_bytes() : nullptr, to, bytes / out_bytes_);
  }

  void copy_scales(const char* from, float* to, int which) const {
    const int64_t bytes = store_.tokens() * 4;
    if (!from) return void(std::memset(to, 0, bytes));
    std::memcpy(to, from + store_.key_bytes() + store_.value_bytes() + which * bytes, bytes);
  }

  // `count` elements, a multiple of 8; zeros if there is nothing to copy.
  void widen(const char* from, char* to, int64_t count) const {
    if (!from) return void(std::memset(to, 0, count * out_bytes_));
    auto* out = reinterpret_cast<uint16_t*>(to);
    switch (store_.type) {
      case KVType::e4m3: return decode<E4M3>(from, out, count);
      case KVType::e5m2: return decode<E5M2>(from, out, count);
      case KVType::int8: return decode<Int8>(from, out, count);
      default: std::memcpy(to, from, count * out_bytes_);
    }
  }

  const KVLayout store_;
  const int parts_;
  const int64_t out_bytes_;
  const bool copies_;
  const int32_t* table_ = nullptr;
  char* scratch_ = nullptr;
};

}  // namespace
}  // namespace PENSTOCK_ISA
}  // namespace penstock
