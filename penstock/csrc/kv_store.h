// Where keys and values lie: in the shape in which the products of attention stream them.
//
// A block holds, for each key/value head, its tokens in units of 16 (8 where the block's size is no multiple of 16):
//   keys    [depth / step][tokens of the unit][step]
//   values  [tokens of the unit / step][padded depth][step]
//   scales  float32 [tokens of the unit] of the keys, then of the values; only beside 8-bit codes
// step is 1 for float32 and float16, 2 for the others: dot products of bfloat16 take pairs.
#pragma once

#include <cstdint>

namespace penstock {

enum class KVType : int { f32 = 0, bf16 = 1, f16 = 2, e4m3 = 3, e5m2 = 4, int8 = 5 };

struct KVStore {
  KVType type;
  int64_t heads, depth, block_size;
  char* data;  // of one layer
};

namespace {

constexpr int64_t unit_tokens = 16;  // of the products; what memory holds may be half of that

struct KVLayout : KVStore {
  explicit KVLayout(const KVStore& store) : KVStore(store) {}

  bool coded() const { return type >= KVType::e4m3; }
  int64_t step() const { return type == KVType::f32 || type == KVType::f16 ? 1 : 2; }
  int64_t bytes() const { return type == KVType::f32 ? 4 : coded() ? 1 : 2; }
  int64_t tokens() const { return block_size % unit_tokens ? unit_tokens / 2 : unit_tokens; }  // of a stored unit
  int64_t padded() const { return (depth + 15) / 16 * 16; }
  int64_t key_bytes() const { return tokens() * depth * bytes(); }
  int64_t value_bytes() const { return tokens() * padded() * bytes(); }
  int64_t unit_bytes() const { return key_bytes() + value_bytes() + (coded() ? tokens() * 8 : 0); }
  int64_t block_bytes() const { return heads * (block_size / tokens()) * unit_bytes(); }

  // The stored unit that holds a place (block * block_size + offset) of a head. Places of a unit are consecutive.
  char* unit(int64_t place, int64_t head) const {
    const int64_t block = place / block_size, offset = place % block_size;
    return data + block * block_bytes() + (head * (block_size / tokens()) + offset / tokens()) * unit_bytes();
  }
};

}  // namespace
}  // namespace penstock
