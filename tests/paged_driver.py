"""The smallest thing that drives a model through paged steps: block tables, chunks, shared prefixes. For tests."""

from __future__ import annotations

import torch

from penstock.attention.context import AttentionStep
from penstock.attention.select import create_backend
from penstock.config.shape import ModelShape
from penstock.models.interface import Model


class Sequence:
    def __init__(self, tokens: list[int]):
        self.tokens = list(tokens)
        self.computed = 0
        self.blocks: list[int] = []


class PagedDriver:
    """Rows of a step are (sequence, how many of its tokens run)."""

    def __init__(self, model: Model, shape: ModelShape, dtype: torch.dtype, block_size: int = 16, num_blocks: int = 96):
        self.model = model
        self.block_size = block_size
        self.backend = create_backend("auto", shape, block_size, dtype, torch.device("cpu"))
        self.backend.allocate(num_blocks)
        self.next_block = 1

    def share_prefix(self, owner: Sequence, taker: Sequence, num_blocks: int) -> None:
        """Give `taker` the first blocks of `owner`, as a prefix cache would."""
        assert owner.computed >= num_blocks * self.block_size
        taker.blocks = owner.blocks[:num_blocks]
        taker.computed = num_blocks * self.block_size

    @torch.inference_mode()
    def step(self, rows: list[tuple[Sequence, int]]) -> list[torch.Tensor]:
        """Logits [n, V] of every token that ran, per row."""
        positions, slots, tokens = [], [], []
        for seq, n in rows:
            end = seq.computed + n
            assert 0 < n <= len(seq.tokens) - seq.computed
            while len(seq.blocks) * self.block_size < end:
                seq.blocks.append(self.next_block)
                self.next_block += 1
            span = range(seq.computed, end)
            positions += span
            slots += [seq.blocks[p // self.block_size] * self.block_size + p % self.block_size for p in span]
            tokens += seq.tokens[seq.computed : end]
            seq.computed = end
        width = max(len(seq.blocks) for seq, _ in rows)
        step = AttentionStep(
            query_lens=[n for _, n in rows],
            context_lens=[seq.computed for seq, _ in rows],
            block_tables_RB=torch.tensor(
                [s.blocks + [0] * (width - len(s.blocks)) for s, _ in rows], dtype=torch.int32
            ),
            slots_T=torch.tensor(slots),
            positions_T=torch.tensor(positions),
        )
        hidden = self.model(torch.tensor(tokens), step.positions_T, self.backend.bind(step))
        return list(self.model.logits(hidden).split(step.query_lens))

    def prefill(self, sequences: list[Sequence], chunk: int | None = None) -> list[torch.Tensor]:
        """Run all that is not computed, `chunk` tokens of each sequence per step; logits per sequence."""
        logits: dict[int, list[torch.Tensor]] = {id(s): [] for s in sequences}
        while left := [s for s in sequences if s.computed < len(s.tokens)]:
            rows = [(s, min(chunk or len(s.tokens), len(s.tokens) - s.computed)) for s in left]
            for (seq, _), out in zip(rows, self.step(rows), strict=True):
                logits[id(seq)].append(out)
        return [torch.cat(logits[id(s)]) for s in sequences]

    def generate(self, sequences: list[Sequence], count: int, chunk: int | None = None) -> list[torch.Tensor]:
        """Append `count` greedy tokens to each; logits of all that ran, per sequence."""
        logits = [[out] for out in self.prefill(sequences, chunk)]
        for i in range(count):
            for seq, out in zip(sequences, logits, strict=True):
                seq.tokens.append(int(out[-1][-1].argmax()))
            if i + 1 < count:
                for out, new in zip(logits, self.step([(s, 1) for s in sequences]), strict=True):
                    out.append(new)
        return [torch.cat(out) for out in logits]
