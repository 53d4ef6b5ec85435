"""Worker: one device with its model and KV memory. Executors hold one and call it; it talks to nobody else."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import torch

from penstock import envs, platforms
from penstock.attention.base import AttentionBackend
from penstock.attention.select import create_backend
from penstock.config.engine_config import EngineConfig
from penstock.errors import StartError
from penstock.layers.context import BuildContext
from penstock.layers.pooler import Pooler
from penstock.loading.loader import load_weights
from penstock.models.interface import Model
from penstock.models.registry import build
from penstock.observability.logging import get_logger
from penstock.ops import kernels
from penstock.ops.lazy_zeros import let_go_of_pages
from penstock.params import SamplingParams
from penstock.platforms.base import Device
from penstock.scheduler.plan import StepPlan, StepResult
from penstock.structured.backends import make_engine
from penstock.structured.base import GrammarEngine
from penstock.structured.manager import GrammarManager
from penstock.structured.masks import Constraints
from penstock.structured.vocabulary import Vocabulary
from penstock.tokenizers.tokenizer import Tokenizer
from penstock.worker.capacity import KVCapacity, KVDemand, MemoryUse, cpu_budget, gib, gpu_budget, size_pool
from penstock.worker.forward import EagerForward, Forward, RunModel
from penstock.worker.graphs import GraphForward, GraphLimits, hide_pauses_from_compilers
from penstock.worker.largest_step import largest_step, step_behind
from penstock.worker.model_runner import ModelRunner
from penstock.worker.offload import OffloadedLayers
from penstock.worker.on_demand import OnDemandForward
from penstock.worker.out_of_memory import TOO_LARGE_POOL, TOO_LARGE_STEP, TOO_LARGE_WEIGHTS, memory_needed
from penstock.worker.sleep import ParkedWeights, describe_sleep
from penstock.worker.step_future import StepFuture
from penstock.worker.weight_memory import storages_of
from penstock.worker.within_memory import run_or_refuse, try_twice

GRAPH_SHARE = 0.02  # of the device's memory, for recorded steps

logger = get_logger(__name__)

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


class Worker:
    """Order of calls: initialize, kv_capacity, allocate_kv, then execute; last shutdown.

    Args:
        max_in_flight: steps that may be open whatever the device; None to go by it.

    Attributes:
        CALLABLE: methods that may be called by name through an executor.
    """

    CALLABLE = frozenset({"describe"})

    def __init__(self, config: EngineConfig, max_in_flight: int | None = None):
        self._config = config
        self._most_in_flight = max_in_flight
        self._threads = 0
        self._device: Device | None = None
        self._model: Model | None = None
        self._backend: AttentionBackend | None = None
        self._runner: ModelRunner | None = None
        manager = GrammarManager(self._make_grammar_engine)
        self._constraints = Constraints(manager, config.model.shape.vocab_size)
        self._pooler: Pooler | None = None
        self._num_blocks = 0
        self._missing: set[str] = set()  # of "weights" and "kv_cache", while asleep
        self._parked: ParkedWeights | None = None

    @property
    def model(self) -> Model:
        assert self._model is not None, "initialize comes first"
        return self._model

    @property
    def backend(self) -> AttentionBackend:
        assert self._backend is not None, "initialize comes first"
        return self._backend

    @property
    def device(self) -> Device:
        assert self._device is not None, "initialize comes first"
        return self._device

    def initialize(self, on_progress: Callable[[str, float], None]) -> None:
        """Open the device, build the model and load its weights.

        Raises:
            StartError: the files, options or machine do not allow it.
        """
        config = self._config
        self._device = platforms.current(config.device.platform).device()
        self._threads, cores = self._device.set_threads(config.device.cpu_threads or envs.OMP_NUM_THREADS)
        kernels.use_threads(self._threads, cores)
        if self._device.has_own_memory:
            logger.info("Computing on %s.", self._device.name)
        else:
            logger.info("Computing on %d threads with %s.", self._threads, kernels.describe())
        with memory_needed(self._device, "the weights were loaded", TOO_LARGE_WEIGHTS):
            self._load(on_progress)
        dtype, torch_device = _DTYPES[config.model.dtype], self._device.torch_device
        self._backend = create_backend(
            config.device.attention_backend,
            config.model.shape,
            config.cache.block_size,
            dtype,
            torch_device,
            config.cache.dtype,
            config.device.batch_invariant,
            self._device.name,
        )

    def _load(self, on_progress: Callable[[str, float], None]) -> None:
        config = self._config
        on_progress("building the model", 0.0)
        dtype, torch_device = _DTYPES[config.model.dtype], self.device.torch_device
        context = BuildContext(
            dtype=dtype,
            device=torch_device,
            max_len=config.model.max_model_len,
            batch_invariant=config.device.batch_invariant,
        )
        self._model = build(config.model.shape, context)
        with kernels.torch_threads(self._threads):
            load_weights(
                self._model,
                config.model.path,
                config.model.load_format,
                lambda done: on_progress("loading weights", done),
                self.device.fill,
            )
        layers = getattr(self._model, "layers", None)
        if config.device.offload_bytes and isinstance(layers, torch.nn.ModuleList):
            moved = OffloadedLayers(self.device, layers, config.device.offload_bytes)
            logger.info("%d layers lie in host memory: %s less on the device.", moved.count, gib(moved.saved))
        if config.pooling is not None:
            self._pooler = Pooler(config.pooling, self._model.logits, dtype, torch_device)
            for dense in self._pooler.dense:
                load_weights(dense, dense.path, config.model.load_format, copy=self.device.fill)
        on_progress("loading weights", 1.0)

    def kv_capacity(self) -> KVCapacity:
        """How many KV blocks to allocate.

        Raises:
            StartError: less than one sequence of max_model_len tokens fits.
        """
        config = self._config
        demand = KVDemand(
            block_size=config.cache.block_size,
            bytes_per_block=self.backend.bytes_per_block(),
            max_model_len=config.model.max_model_len,
            max_num_seqs=config.scheduler.max_num_seqs,
            memory_bytes=config.cache.memory_bytes,
            num_blocks_override=config.cache.num_blocks_override,
            step_tokens=None if config.model.shape.causal else config.scheduler.max_num_batched_tokens,
        )
        free, total = self.device.memory()
        if not self.device.has_own_memory:
            return size_pool(demand, *cpu_budget(free, total, config.cache.memory_utilization))
        if demand.memory_bytes is not None or demand.num_blocks_override is not None:
            return size_pool(demand, 0, "")
        return size_pool(demand, *gpu_budget(self._memory_use(), config.cache.memory_utilization))

    def _memory_use(self) -> MemoryUse:
        """With the largest step tried out."""
        self.device.give_back()
        free, total = self.device.memory()
        kind = self.device.torch_device.type
        storages = storages_of(self.model, self._pooler)
        weights = sum(storage.nbytes() for storage in storages if storage.device.type == kind)
        with memory_needed(self.device, "the largest step was tried out", TOO_LARGE_STEP):
            activations = self._largest_step() if self._pooler is None else 0
        recorded = self._config.compilation.decode_sizes or self._config.compilation.mixed_sizes
        graphs = int(total * GRAPH_SHARE) if recorded else 0
        return MemoryUse(total, weights, activations, graphs, total - free - weights)

    def _largest_step(self) -> int:
        """Run it once, on a KV pool that is just large enough, with as many steps open behind it as may be; the bytes
        that they take beside that pool."""
        limits, most = self._config.scheduler, self._config.model.max_model_len
        plan = largest_step(limits.max_num_seqs, limits.max_num_batched_tokens, most, self.backend.block_size)
        self.backend.allocate(1 + max(len(row.new_block_ids) for row in plan.rows))
        self.device.give_back()
        before, _ = self.device.memory()
        self._start_runner(records=False)
        assert self._runner is not None
        steps = [self._runner.start(plan)]
        for _ in range(1, self.max_in_flight):
            plan = step_behind(plan, most, self.backend.block_size)
            steps.append(self._runner.start(plan))
        for step in steps:
            self._runner.finish(step)
        self.device.synchronize()
        after, _ = self.device.memory()  # what was freed since is kept for reuse, so this is the peak
        self._runner = None
        self.backend.allocate(0)
        self.device.give_back()
        return max(0, before - after)

    def allocate_kv(self, num_blocks: int) -> None:
        """Make the KV pool and become ready to execute."""
        self._num_blocks = num_blocks
        with memory_needed(self.device, self._kv_words(), TOO_LARGE_POOL):
            self.backend.allocate(num_blocks)
        self._start_runner()
        self.device.begin_steps()

    def _kv_words(self) -> str:
        size = gib(self._num_blocks * self.backend.bytes_per_block())
        return f"{size} were taken for the KV cache"

    def _start_runner(self, records: bool = True) -> None:
        self._runner = ModelRunner(
            self.model,
            self.backend,
            self._config.model.shape.vocab_size,
            self.device,
            self._constraints,
            self._pooler,
            self._make_forward(records),
            overlaps=self.max_in_flight > 1,
            packs=self.max_in_flight > 1 or self.device.has_own_memory,
        )

    def sleep(self, level: int, gone: list[str]) -> None:
        """Let go of memory; no step comes until `wake_up`.

        Args:
            gone: all requests that the worker knows.
            level: 1 frees the KV pool, and moves weights to host memory if they are not there; 2 frees both.
        """
        self._constraints.apply(StepPlan(0, gone, [], []))
        self._runner = None  # with its graphs, if it has captured any: they hold addresses
        self.backend.allocate(0)
        if level == 2:
            self._model = self._pooler = None
        elif self.device.has_own_memory:
            self._parked = ParkedWeights(self.device, (self.model, self._pooler))
        let_go_of_pages()
        self.device.give_back()
        self._missing = {"weights", "kv_cache"}
        logger.info("Asleep: %s", describe_sleep(level, self.device.has_own_memory))

    def wake_up(self, parts: frozenset[str]) -> None:
        """Get parts of the memory back: "weights" or "kv_cache" or both.

        Raises:
            StartError: the files or the memory are not there any more; what is missing stays so.
        """
        if "weights" in parts:
            if self._model is None:
                try:
                    with memory_needed(self.device, "the weights were loaded", "Another program may have taken it."):
                        self._load(lambda what, done: None)
                except StartError:
                    self._model = self._pooler = None
                    raise
            elif self._parked is not None:
                with memory_needed(self.device, "the weights were moved back", "Another program may have taken it."):
                    self._parked.restore()
            self._parked = None
            self.device.give_back()
            self._missing.discard("weights")
        if "kv_cache" in parts:
            with memory_needed(self.device, self._kv_words(), "Another program may have taken it."):
                self.backend.allocate(self._num_blocks)
            self._missing.discard("kv_cache")
        if not self._missing:
            self._start_runner()
            logger.info("Awake.")

    def _make_forward(self, records: bool) -> Forward:
        config = self._config.compilation
        run: RunModel = self.model
        if config.compiled:
            # Attention differs from step to step, and is kernels of our own.
            self.backend.attend = torch.compiler.disable(self.backend.attend)  # type: ignore[method-assign]
            hide_pauses_from_compilers()
            run = self.device.compile(self.model.forward)
        if not records or not (config.decode_sizes or config.mixed_sizes):
            return EagerForward(run, self.backend)
        _, total = self.device.memory()
        limits = GraphLimits(config.decode_sizes, config.mixed_sizes, config.max_context, int(total * GRAPH_SHARE))
        recorded = GraphForward if self.device.pads_steps else OnDemandForward
        return recorded(run, self.backend, self.device, self._config.model.shape.hidden_size, limits)

    def prepare(self, params: SamplingParams) -> Future[object]:
        """Compile a request's constraint on another thread, ahead of its first step."""
        return self._constraints.prepare(params)

    @property
    def max_in_flight(self) -> int:
        """Steps that may be executed before the first one's result is asked for."""
        if self._config.pooling is not None or not self._config.scheduler.overlaps:
            return 1  # what is pooled is waited for
        return self._most_in_flight or self.device.max_in_flight

    def execute(self, plan: StepPlan) -> Future[StepResult]:
        """Issue one step. What is wrong with it comes out of the future."""
        assert self._runner is not None, "allocate_kv comes first"
        runner, future = self._runner, Future[StepResult]()
        try:
            if self.max_in_flight > 1:
                step = try_twice(runner.start, plan, self.device)
                return StepFuture(lambda: runner.finish(step))
            future.set_result(run_or_refuse(runner.execute, plan, self.device))
        except Exception as e:  # boundary: a worker's failure belongs to the caller of result()
            future.set_exception(e)
        return future

    def idle(self) -> bool:
        """Use the time while there is nothing to run; whether more of it would be of use."""
        return self._runner is not None and (self._runner.idle() or self.backend.idle())

    def _make_grammar_engine(self) -> GrammarEngine:
        """On the compiling thread, for the first constraint: reading a tokenizer takes a second or so."""
        model = self._config.model
        if model.tokenizer_path is None:
            raise StartError("structured outputs need a tokenizer, and there is none (--skip-tokenizer-init).")
        tokenizer = Tokenizer.from_folder(model.tokenizer_path)
        vocabulary = Vocabulary.from_tokenizer(tokenizer, model.shape.vocab_size, model.eos_token_ids)
        return make_engine(self._config.structured, vocabulary)

    def describe(self) -> dict[str, Any]:
        """What this worker runs on and with."""
        free, total = self.device.memory()
        return {
            "platform": self._config.device.platform,
            "device": self.device.name,
            "capability": self.device.capability,
            "threads": self._threads,
            "dtype": self._config.model.dtype,
            "attention": type(self.backend).__name__,
            "memory_free": free,
            "memory_total": total,
            **(self._runner.describe() if self._runner is not None else {}),
        }

    def shutdown(self) -> None:
        """Let go of model and KV memory."""
        self._constraints.close()
        self._runner = self._backend = self._model = self._pooler = None
