"""A small random model behind a ModelRunner, and a driver that plays the scheduler by hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from penstock.attention.select import create_backend
from penstock.config.shape import ModelShape, Rope
from penstock.layers.context import BuildContext
from penstock.models.interface import Model
from penstock.models.registry import build
from penstock.params import SamplingParams
from penstock.platforms.base import Graph, Pause
from penstock.platforms.cpu import CpuDevice
from penstock.platforms.cuda import run_now
from penstock.scheduler.plan import NewRow, Row, RowResult, StepPlan, TokenLogprobs
from penstock.worker.model_runner import ModelRunner

VOCAB = 1100  # no multiple of anything
BLOCK = 8
CPU = torch.device("cpu")


def small_shape(architecture: str = "Qwen3ForCausalLM") -> ModelShape:
    return ModelShape(
        architecture=architecture,
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=96,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=16,
        norm_eps=1e-6,
        max_position=512,
        rope=Rope(theta=10000.0, original_max_position=512),
        tie_embeddings=architecture == "Qwen3ForCausalLM",
    )


def random_model(shape: ModelShape, dtype: torch.dtype) -> Model:
    """Weights that are the same whatever the type, up to its rounding."""
    model = build(shape, BuildContext(dtype=dtype, device=CPU, max_len=shape.max_position))
    generator = torch.Generator().manual_seed(11)
    for name, tensor in sorted(checkpoint_of(model).items()):
        values = torch.randn(tensor.shape, generator=generator)
        tensor.copy_(1.0 + 0.1 * values if "norm" in name else 0.15 * values)
    for module in model.modules():
        if hasattr(module, "finish_loading"):
            module.finish_loading()
    return model


def checkpoint_of(model: Model) -> dict[str, torch.Tensor]:
    """Checkpoint name -> the model's own tensor."""
    found: dict[str, torch.Tensor] = {}
    for module in model.modules():
        if hasattr(module, "slots"):
            found |= module.slots()
    return found


class RunnerFactory:
    """Fresh runners over one model."""

    def __init__(self, dtype: torch.dtype, architecture: str = "Qwen3ForCausalLM"):
        self.shape = small_shape(architecture)
        self.dtype = dtype
        self.model = random_model(self.shape, dtype)

    def driver(self, num_blocks: int = 400) -> Driver:
        backend = create_backend("auto", self.shape, BLOCK, self.dtype, CPU)
        backend.allocate(num_blocks)
        return Driver(ModelRunner(self.model, backend, VOCAB, CpuDevice()), num_blocks)


@dataclass
class Request:
    """What a request is given and what it has got so far."""

    request_id: str
    prompt: list[int]
    params: SamplingParams
    max_new: int
    answer: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    prompt_logprobs: dict[int, TokenLogprobs] = field(default_factory=dict)  # by position
    error: str | None = None
    computed: int = 0
    blocks: list[int] = field(default_factory=list)
    told: int = 0  # blocks that the worker has been told; 0 if it does not know the request
    borrowed: int = 0  # blocks at the front that belong to another request

    @property
    def tokens(self) -> list[int]:
        return self.prompt + self.answer

    @property
    def done(self) -> bool:
        return self.error is not None or len(self.answer) >= self.max_new

    @property
    def result(self) -> tuple[list[int], list[TokenLogprobs], dict[int, TokenLogprobs], str | None]:
        return self.answer, self.logprobs, self.prompt_logprobs, self.error

    def fresh(self) -> Request:
        return Request(self.request_id, self.prompt, self.params, self.max_new)


class Driver:
    """Makes plans by hand and keeps the books that a scheduler would keep."""

    def __init__(self, runner: ModelRunner, num_blocks: int):
        self.runner = runner
        self.free = list(range(num_blocks - 1, 0, -1))
        self.gone: list[str] = []
        self.num_steps = 0

    def step(self, batch: list[tuple[Request, int]]) -> list[RowResult]:
        """Run so many tokens of each of these requests, and take in the results."""
        new, rows = [], []
        for request, count in batch:
            end = request.computed + count
            while len(request.blocks) * BLOCK < end:
                request.blocks.append(self.free.pop())
            if not request.told:
                new.append(NewRow(request.request_id, request.tokens, len(request.prompt), request.params))
            new_blocks = request.blocks[request.told :]
            request.told = len(request.blocks)
            samples = end == len(request.tokens)
            rows.append(Row(request.request_id, request.computed, count, new_blocks, samples))
        plan = StepPlan(self.num_steps, self.gone, new, rows)
        self.gone = []
        self.num_steps += 1
        result = self.runner.execute(plan)
        assert result.step == plan.step
        for (request, count), row in zip(batch, result.rows, strict=True):
            assert row.request_id == request.request_id
            self._take_in(request, count, row)
        return result.rows

    def _take_in(self, request: Request, count: int, row: RowResult) -> None:
        for i, logprobs in enumerate(row.prompt_logprobs or []):
            request.prompt_logprobs[request.computed + 1 + i] = logprobs
        request.computed += count
        request.answer += row.token_ids
        request.logprobs += row.logprobs or []
        request.error = row.error

    def remove(self, request: Request) -> None:
        """The request is finished, or preempted: it may come back and starts again."""
        if request.told:
            self.gone.append(request.request_id)
        self.free += request.blocks[request.borrowed :]
        request.blocks, request.computed, request.told, request.borrowed = [], 0, 0, 0

    def share_prefix(self, owner: Request, request: Request, num_blocks: int) -> None:
        """Let a request that has not begun use the owner's first blocks, which are computed or run in the same step."""
        assert not request.blocks
        while len(owner.blocks) < num_blocks:
            owner.blocks.append(self.free.pop())
        assert owner.tokens[: num_blocks * BLOCK] == request.tokens[: num_blocks * BLOCK]
        request.blocks, request.computed, request.borrowed = owner.blocks[:num_blocks], num_blocks * BLOCK, num_blocks

    def run_alone(self, request: Request) -> Request:
        """The whole prompt in one step, then token by token."""
        while not request.done:
            self.step([(request, len(request.tokens) - request.computed)])
        self.remove(request)
        return request

    def run_random(self, requests: list[Request], rng: random.Random, most_at_once: int) -> None:
        """All requests, in random batches, chunks and with preemptions."""
        waiting, running = list(requests), []
        while waiting or running:
            while waiting and len(running) < most_at_once and rng.random() < 0.7:
                running.append(waiting.pop(0))
            rng.shuffle(running)
            batch = []
            for request in running:
                missing = len(request.tokens) - request.computed
                if rng.random() < 0.8:
                    batch.append((request, missing if rng.random() < 0.4 else rng.randint(1, missing)))
            if batch:
                self.step(batch)
            for request in list(running):
                if request.done or rng.random() < 0.04:
                    self.remove(request)
                    running.remove(request)
                    if not request.done:
                        waiting.append(request)


class CallingGraph(Graph):
    def __init__(self, work: Callable[[Pause], None]):
        self._work = work

    def replay(self) -> None:
        self._work(run_now)


class CallingDevice(CpuDevice):
    """Its graphs call their work again: attention may look at lengths then, and check them."""

    def graph(self, work: Callable[[Pause], None]) -> Graph:
        work(run_now)
        return CallingGraph(work)


def random_requests(count: int, rng: random.Random) -> list[Request]:
    made = []
    for i in range(count):
        prompt = [rng.randrange(VOCAB) for _ in range(rng.randint(1, 40))]
        wanted = rng.choice([None, 2])
        params = SamplingParams(temperature=rng.choice([0.0, 1.0]), seed=i, logprobs=2, prompt_logprobs=wanted)
        made.append(Request(f"r{i}", prompt, params, rng.randint(1, 40)))
    return made
