"""How many KV blocks fit: arithmetic on bytes, and the sum in words for the log.

Knows no tensors and no device; `worker/worker.py` brings the numbers, the engine core asks for the answer.
"""

from __future__ import annotations

import msgspec

from penstock.config.memory import CPU_SHARE
from penstock.errors import StartError

GIB = 1 << 30


class KVCapacity(msgspec.Struct, frozen=True):
    """The answer to "how large may the KV pool be".

    Attributes:
        num_blocks: blocks to allocate, the null block 0 included.
        explanation: the sum in words, one line for the log.
    """

    num_blocks: int
    explanation: str


class KVDemand(msgspec.Struct, frozen=True):
    """What the engine asks of the pool.

    Attributes:
        block_size: tokens per block.
        bytes_per_block: keys and values of all layers.
        max_model_len: tokens of the longest sequence.
        max_num_seqs: sequences that may run at once.
        memory_bytes: the user's exact size, or None.
        num_blocks_override: the user's exact number of blocks, or None.
        step_tokens: tokens of one step, if nothing is kept after it; None for sequences that grow.
    """

    block_size: int
    bytes_per_block: int
    max_model_len: int
    max_num_seqs: int
    memory_bytes: int | None = None
    num_blocks_override: int | None = None
    step_tokens: int | None = None

    @property
    def blocks_per_sequence(self) -> int:
        return -(-self.max_model_len // self.block_size)

    @property
    def useful_blocks(self) -> int:
        """Blocks beyond which nothing can use more: every sequence at full length, and the null block."""
        if self.step_tokens is not None:  # a sequence's last block may hold one token; as many may be kept free
            return -(-self.step_tokens // self.block_size) + 2 * self.max_num_seqs + 1
        return self.max_num_seqs * self.blocks_per_sequence + 1


class MemoryUse(msgspec.Struct, frozen=True):
    """What of a device's memory is taken, or will be, in bytes; before there is a KV pool.

    Attributes:
        weights: the model's.
        activations: what the largest step takes at its peak.
        graphs: kept free for recorded steps.
        others: the driver's, and other programs'.
    """

    total: int
    weights: int
    activations: int
    graphs: int
    others: int


def gpu_budget(use: MemoryUse, utilization: float) -> tuple[int, str]:
    """(bytes for the pool, where they come from): what is left of a share of the whole device."""
    used = use.weights + use.activations + use.graphs + use.others
    words = (
        f"{utilization:.2f} of {gib(use.total)} (--gpu-memory-utilization) less {gib(use.weights)} weights, "
        f"{gib(use.activations)} activations of the largest step, {gib(use.graphs)} for graphs and "
        f"{gib(use.others)} in other use"
    )
    return max(0, int(use.total * utilization) - used), words


def cpu_budget(free: int, total: int, utilization: float) -> tuple[int, str]:
    """A quarter of what is free, within the share of the machine that the engine may fill."""
    used = total - free
    within = max(0, int(total * utilization) - used)
    words = f"{utilization:.2f} of {gib(total)} (--gpu-memory-utilization) less {gib(used)} in use"
    if free // CPU_SHARE <= within:
        return free // CPU_SHARE, f"a quarter of {gib(free)} free memory"
    return within, words


def size_pool(demand: KVDemand, available: int, source: str) -> KVCapacity:
    """Blocks of the pool.

    Args:
        available: bytes that may go to the pool when the user gave no exact size.
        source: where `available` comes from, in words.

    Raises:
        StartError: not even one sequence of max_model_len tokens fits.
    """
    if demand.num_blocks_override is not None:
        num_blocks, why = demand.num_blocks_override, "as given by --num-gpu-blocks-override"
    elif demand.memory_bytes is not None:
        num_blocks = demand.memory_bytes // demand.bytes_per_block
        why = f"{gib(demand.memory_bytes)} given by --kv-cache-memory-bytes"
    else:
        num_blocks = available // demand.bytes_per_block
        why = f"{gib(available)}: {source}"
        if num_blocks > demand.useful_blocks:
            num_blocks = demand.useful_blocks
            whole = f"{demand.max_num_seqs} sequences of {demand.max_model_len} tokens"
            why += f"; {whole if demand.step_tokens is None else 'steps that keep nothing'} need no more"
    _check_one_sequence(demand, num_blocks, why)
    tokens = (num_blocks - 1) * demand.block_size
    return KVCapacity(
        num_blocks,
        f"KV cache: {num_blocks} blocks of {demand.block_size} tokens = {gib(num_blocks * demand.bytes_per_block)}, "
        f"room for {tokens} tokens, {tokens / demand.max_model_len:.2f} sequences of {demand.max_model_len} "
        f"({why}; one block takes {demand.bytes_per_block / 1024:.0f} KiB)",
    )


def _check_one_sequence(demand: KVDemand, num_blocks: int, why: str) -> None:
    if num_blocks - 1 >= demand.blocks_per_sequence:  # block 0 is never handed out
        return
    needed = (demand.blocks_per_sequence + 1) * demand.bytes_per_block
    has = num_blocks * demand.bytes_per_block
    fits = max(0, num_blocks - 1) * demand.block_size
    raise StartError(
        f"To serve at least one request with the model's max seq len ({demand.max_model_len}), "
        f"{gib(needed)} KV cache is needed, which is larger than the available KV cache memory ({gib(has)}: {why}). "
        f"The estimated maximum model length is {fits}. Decrease --max-model-len to that, or give the cache more with "
        f"--kv-cache-memory-bytes, --gpu-memory-utilization or --num-gpu-blocks-override; --kv-cache-dtype fp8 and "
        f"smaller steps (--max-num-batched-tokens, --max-num-seqs) make room, too."
    )


def gib(size: int) -> str:
    """In words."""
    return f"{size / GIB:.2f} GiB" if size >= GIB // 10 else f"{size / (1 << 20):.2f} MiB"
