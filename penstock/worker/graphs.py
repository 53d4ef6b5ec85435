"""Runs steps by replaying recorded ones, where that saves the host's time between kernels; others eagerly.

Steps of one token for each row replay a graph of the whole model, others one of the parts between attentions, which
runs itself. Graphs are for numbers of tokens; a step takes the next larger one, and its padding writes only to the
null block. They are recorded one by one while the engine already answers, the largest first: the others use its memory.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from traceback import format_exception_only
from typing import Any

import torch

from penstock.attention.base import AttentionBackend, BoundAttention, HeadNorms
from penstock.attention.context import AttentionStep, DeviceLens
from penstock.observability.logging import get_logger
from penstock.platforms.base import Device, Graph, Pause
from penstock.worker.forward import EagerForward, Forward, RunModel

# Dimensions in tensor names: T tokens of the largest graph, R rows of it, B blocks of a row, H hidden size, N others.

CHEAP_TOKENS = 64  # a step of so many takes about as long as one of a single token: reading the weights
MOST_PADDING = 2  # more tokens than so many times the real ones are not worth it beyond that
FIRST_AFTER_S = 1.0  # the first requests need not wait, and an idle engine does not ask for this
BUSY_SHARE = 0.2  # of the time while requests run, for recording

logger = get_logger(__name__)


@dataclass(frozen=True)
class GraphLimits:
    """What to record.

    Attributes:
        decode_sizes: numbers of rows, of whole graphs of one token for each row; ascending.
        mixed_sizes: numbers of tokens, of graphs that pause for attention; ascending.
        max_context: longest context of a row, in tokens, that whole graphs are for.
        reserve_bytes: memory that graphs may take.
    """

    decode_sizes: tuple[int, ...]
    mixed_sizes: tuple[int, ...]
    max_context: int
    reserve_bytes: int


class Buffers:
    """What graphs read and write: at addresses that stay, the same for all of them."""

    def __init__(self, limits: GraphLimits, hidden_size: int, backend: AttentionBackend):
        device, dtype, layout = backend.device, backend.dtype, backend.layout
        rows, mixed = max((*limits.decode_sizes, 0)), max((*limits.mixed_sizes, 0))
        tokens, width = max(rows, mixed), -(-limits.max_context // backend.block_size)
        self.token_ids_T, self.positions_T, self.slots_T = torch.zeros((3, tokens), dtype=torch.int64, device=device)
        self.tables_RB = torch.zeros((rows, width), dtype=torch.int32, device=device)
        self.starts_R1 = torch.arange(rows + 1, dtype=torch.int32, device=device)
        self.contexts_R = torch.zeros(rows, dtype=torch.int32, device=device)
        self.hidden_TH = torch.zeros((tokens, hidden_size), dtype=dtype, device=device)
        heads, kv_heads = layout.num_heads, layout.num_kv_heads
        self.qkv_TN = torch.zeros((mixed, (heads + 2 * kv_heads) * layout.head_dim), dtype=dtype, device=device)
        self.attended_TN = torch.zeros((mixed, heads * layout.head_dim), dtype=dtype, device=device)

    def run(self, model: RunModel, size: int, attention: BoundAttention) -> None:
        """The first `size` tokens through the model."""
        self.hidden_TH[:size].copy_(model(self.token_ids_T[:size], self.positions_T[:size], attention))


def why_not(error: Exception, device: Device) -> str:
    """Why something could not be recorded, in a few words."""
    if device.is_out_of_memory(error):
        return "the device's memory is full"
    return format_exception_only(error)[-1].splitlines()[0]


class Graphs(ABC):
    """Graphs of one kind, by size."""

    def __init__(self, model: RunModel, backend: AttentionBackend, device: Device, buffers: Buffers):
        self._model = model
        self._backend = backend
        self._device = device
        self._buffers = buffers
        self._graphs: dict[int, Graph] = {}
        self._sizes: list[int] = []

    def __len__(self) -> int:
        return len(self._graphs)

    def __contains__(self, size: int) -> bool:
        return size in self._graphs

    def size_for(self, tokens: int) -> int | None:
        """The smallest graph for so many tokens, if there is one that is not far too large."""
        size = next((size for size in self._sizes if size >= tokens), None)
        return size if size is None or size <= max(CHEAP_TOKENS, MOST_PADDING * tokens) else None

    def record(self, size: int) -> None:
        """Make the graph of a size. Writes to no block but the null block."""
        self._graphs[size] = self._record(size)
        self._sizes = sorted(self._graphs)

    @abstractmethod
    def _record(self, size: int) -> Graph: ...

    @abstractmethod
    def takes(self, step: AttentionStep) -> bool:
        """Whether steps like this one are what these graphs are for, size aside."""

    @abstractmethod
    def replay(self, size: int, token_ids_T: torch.Tensor, step: AttentionStep) -> torch.Tensor:
        """Run the step by the graph of a size; hidden_TH, overwritten by the next one."""


class DecodeGraphs(Graphs):
    """Of the whole model, for steps of one token in each row."""

    def __init__(self, model: RunModel, backend: AttentionBackend, device: Device, buffers: Buffers, max_context: int):
        super().__init__(model, backend, device, buffers)
        self._max_context = max_context
        self._attention: dict[int, BoundAttention] = {}  # graphs read tensors of its metadata
        self._rows = 0  # of the buffers that are no padding

    def takes(self, step: AttentionStep) -> bool:
        one_each = len(step.query_lens) == step.slots_T.shape[0]
        return one_each and max(step.context_lens) <= self._max_context

    def _record(self, size: int) -> Graph:
        self._pad_from(0)
        b = self._buffers
        step = AttentionStep(
            query_lens=[1] * size,
            context_lens=[self._max_context] * size,
            block_tables_RB=b.tables_RB[:size],
            slots_T=b.slots_T[:size],
            positions_T=b.positions_T[:size],
            lens=DeviceLens(b.starts_R1[: size + 1], b.contexts_R[:size]),
        )
        attention = BoundAttention(self._backend, self._backend.build_padded(step, self._max_context))
        model = self._model  # not self: a graph must go, with its memory, when nobody needs this object any more

        def work(pause: Pause) -> None:
            b.run(model, size, attention)

        self._attention[size] = attention
        return self._device.graph(work)

    def replay(self, size: int, token_ids_T: torch.Tensor, step: AttentionStep) -> torch.Tensor:
        b, rows = self._buffers, token_ids_T.shape[0]
        self._pad_from(rows)
        b.token_ids_T[:rows].copy_(token_ids_T)
        b.positions_T[:rows].copy_(step.positions_T)
        b.slots_T[:rows].copy_(step.slots_T)
        b.tables_RB[:rows, : step.block_tables_RB.shape[1]].copy_(step.block_tables_RB)
        if step.lens is None:
            contexts_R = self._device.copy_in(torch.tensor(step.context_lens, dtype=torch.int32))
        else:
            contexts_R = step.lens.context_lens_R
        b.contexts_R[:rows].copy_(contexts_R)
        self._backend.expect(step)
        self._graphs[size].replay()
        return b.hidden_TH[:rows]

    def _pad_from(self, rows: int) -> None:
        """What an earlier step left in the rows behind must not be written to its blocks once more."""
        if rows < self._rows:
            self._buffers.slots_T[rows : self._rows].zero_()
            self._buffers.contexts_R[rows : self._rows].zero_()
        self._rows = rows


@dataclass
class Running:
    """The step that is being run by a graph that pauses.

    Attributes:
        tokens: how many are real.
        attention: None while there is no step.
    """

    tokens: int = 0
    attention: BoundAttention | None = None


@dataclass(frozen=True)
class PausingAttention(BoundAttention):
    """What a model gets for attention while it is recorded: a pause, in which the running step's attention is called.

    That computes the real tokens alone; what lies behind them stays as it is, finite.
    """

    buffers: Buffers
    running: Running
    pause: Pause

    def attend(
        self,
        layer: int,
        qkv_TN: torch.Tensor,
        angles: tuple[torch.Tensor, torch.Tensor],
        norms: HeadNorms | None = None,
    ) -> torch.Tensor:
        b, running, size = self.buffers, self.running, qkv_TN.shape[0]
        b.qkv_TN[:size].copy_(qkv_TN)

        def attend() -> None:
            count = running.tokens
            if running.attention is not None:
                real = (angles[0][:count], angles[1][:count])
                b.attended_TN[:count].copy_(running.attention.attend(layer, b.qkv_TN[:count], real, norms))

        self.pause(attend)
        return b.attended_TN[:size]


def hide_pauses_from_compilers() -> None:
    """Let a compiler of the model call attention that pauses as it is: to compile some of it anew while a graph is
    recorded would break the recording."""
    attend: Any = PausingAttention.attend
    if not getattr(attend, "_torchdynamo_disable", False):
        PausingAttention.attend = torch.compiler.disable(attend)  # type: ignore[method-assign]


class MixedGraphs(Graphs):
    """Of the parts of the model between attentions, for any step."""

    def __init__(self, model: RunModel, backend: AttentionBackend, device: Device, buffers: Buffers):
        super().__init__(model, backend, device, buffers)
        self._running = Running()

    def takes(self, step: AttentionStep) -> bool:
        return True

    def _record(self, size: int) -> Graph:
        model, backend, buffers, running = self._model, self._backend, self._buffers, self._running

        def work(pause: Pause) -> None:
            buffers.run(model, size, PausingAttention(backend, None, buffers, running, pause))

        return self._device.graph(work)

    def replay(self, size: int, token_ids_T: torch.Tensor, step: AttentionStep) -> torch.Tensor:
        b, running, tokens = self._buffers, self._running, token_ids_T.shape[0]
        b.token_ids_T[:tokens].copy_(token_ids_T)
        b.positions_T[:tokens].copy_(step.positions_T)
        running.tokens, running.attention = tokens, self._backend.bind(step)
        try:
            self._graphs[size].replay()
        finally:
            running.attention = None  # recording must not call that of a step that failed: it writes to its blocks
        return b.hidden_TH[:tokens]


class GraphForward(Forward):
    """Replays what is recorded, and calls the model for the rest.

    Args:
        model: loaded, or its compiled forward method.
        backend: allocated.
        hidden_size: of the model.
    """

    def __init__(
        self, model: RunModel, backend: AttentionBackend, device: Device, hidden_size: int, limits: GraphLimits
    ):
        self._eager = EagerForward(model, backend)
        self._device = device
        self._bytes_before = device.graph_bytes()
        self._reserve = limits.reserve_bytes
        if not backend.pads:  # each step has calls of its own then
            limits = replace(limits, decode_sizes=())
        buffers = Buffers(limits, hidden_size, backend)
        decode = DecodeGraphs(model, backend, device, buffers, limits.max_context)
        self._kinds: tuple[Graphs, ...] = (decode, MixedGraphs(model, backend, device, buffers))
        sizes = (limits.decode_sizes, limits.mixed_sizes)
        orders = [some[-1:] + some[:-1] for some in sizes]  # then from the smallest on: small steps gain most
        self._left = [(kind, size) for kind, some in zip(self._kinds, orders, strict=True) for size in some]
        self._next_at = time.perf_counter() + FIRST_AFTER_S
        self._seconds = 0.0

    def run(
        self,
        token_ids_T: torch.Tensor,
        step: AttentionStep,
        wanted_S: torch.Tensor | None = None,
        segments_T: torch.Tensor | None = None,
    ) -> torch.Tensor:
        if self._left and time.perf_counter() >= self._next_at:
            self.idle()
        if segments_T is None:
            for kind in self._kinds:
                size = kind.size_for(token_ids_T.shape[0])
                if size is not None and kind.takes(step):
                    hidden_TH = kind.replay(size, token_ids_T, step)
                    return hidden_TH if wanted_S is None else hidden_TH[wanted_S]
        return self._eager.run(token_ids_T, step, wanted_S, segments_T)

    def idle(self) -> bool:
        """Record one more graph."""
        if not self._left:
            return False
        kind, size = self._left.pop(0)
        start = time.perf_counter()
        try:
            kind.record(size)
        except Exception as e:  # boundary: what cannot be recorded can still be run
            self._left.insert(0, (kind, size))
            self._stop(why_not(e, self._device))
        now = time.perf_counter()
        self._seconds += now - start
        self._next_at = now + (now - start) * (1 / BUSY_SHARE - 1)
        taken = self._device.graph_bytes() - self._bytes_before
        if self._left and taken >= self._reserve:
            self._stop(f"the {self._reserve >> 20} MiB for them are used up")
        if not self._left:
            logger.info(
                "Recorded %d graphs of whole steps and %d of steps around attention in %.1f s; they take %d MiB.",
                *map(len, self._kinds),
                self._seconds,
                taken >> 20,
            )
        return bool(self._left)

    def describe(self) -> dict[str, int]:
        return {"graphs": sum(map(len, self._kinds)), "graphs_left": len(self._left)}

    def _stop(self, why: str) -> None:
        logger.warning("%d graphs are not recorded: %s. Steps that they were for run without.", len(self._left), why)
        self._left.clear()
