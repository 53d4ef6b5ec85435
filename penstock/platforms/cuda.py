"""NVIDIA GPUs: facts from the driver, without torch; streams, events, copies and graphs through torch.cuda.

One GPU: the first of those that CUDA_VISIBLE_DEVICES leaves.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

from penstock import envs
from penstock.errors import StartError
from penstock.platforms import nvml
from penstock.platforms.base import Device, Event, Function, Graph, HostCopy, Pause, Platform, PlatformFacts
from penstock.platforms.cpu import keep_freed_memory, physical_cores

OLDEST = (7, 5)  # what CUDA 13, and so today's torch, still has code for
BFLOAT16_FROM = (8, 0)
VISIBLE = "CUDA_VISIBLE_DEVICES"
HOST_THREADS = 8  # what is left to the host are copies from files, which more than these do not make faster
STAGE_BYTES = 32 << 20  # of each of the two buffers that weights pass through
FULL = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


class CudaPlatform(Platform):
    """
    Args:
        library: the driver's management library.
        version_file: of the torch that would be imported; None to look for it.
    """

    name = "cuda"

    def __init__(self, library: str = nvml.LIBRARY, version_file: Path | None = None):
        self._visible = envs.snapshot([VISIBLE]).get(VISIBLE)
        self._driver = nvml.read_driver(self._visible, library)
        self._version_file = version_file

    def seen(self) -> bool:
        return self._driver is not None and bool(self._driver.gpus)

    def refusal(self) -> str | None:
        if self._driver is None:
            return "there is no NVIDIA driver here, or it does not answer"
        if not self._driver.gpus:
            hidden = "" if self._visible is None else f" with {VISIBLE}={self._visible}"
            return f"the NVIDIA driver shows no GPU{hidden}"
        torch_version, built_for = torch_versions(self._version_file or _find_version_file())
        if built_for is None:
            return f"the installed torch ({torch_version}) was built without CUDA"
        if int(built_for.partition(".")[0]) > self._driver.cuda[0]:
            return (
                f"the installed torch ({torch_version}) was built for CUDA {built_for}, and the NVIDIA driver "
                f"{self._driver.version} runs CUDA up to {self._driver.cuda[0]}.{self._driver.cuda[1]}; it takes a "
                "newer driver or an older torch"
            )
        gpu = self._driver.gpus[0]
        if gpu.capability < OLDEST:
            return f"{_called(gpu)} is too old: compute capability {OLDEST[0]}.{OLDEST[1]} or newer is needed"
        return None

    def facts(self) -> PlatformFacts:
        assert self._driver is not None, "refused"
        gpu = self._driver.gpus[0]
        has_bfloat16 = gpu.capability >= BFLOAT16_FROM
        return PlatformFacts(
            name=self.name,
            memory_total=gpu.memory_total,
            memory_free=gpu.memory_free,
            physical_cores=physical_cores(),
            supported_dtypes=("bfloat16", "float16", "float32") if has_bfloat16 else ("float16", "float32"),
            device_name=_called(gpu),
        )

    def preferred_16bit(self) -> str:
        return "bfloat16" if "bfloat16" in self.facts().supported_dtypes else "float16"

    def describe(self) -> list[tuple[str, str]]:
        """What there is, for a report."""
        if self._driver is None:
            return [("NVIDIA driver", "none, or it does not answer")]
        lines = [("NVIDIA driver", f"{self._driver.version}, CUDA up to {'.'.join(map(str, self._driver.cuda))}")]
        for i, gpu in enumerate(self._driver.gpus):
            memory = f"{gpu.memory_total >> 20} MiB, {gpu.memory_free >> 20} MiB free"
            lines.append((f"GPU {i}", f"{_called(gpu)}, {memory}"))
        return lines

    def device(self, index: int = 0) -> Device:
        return CudaDevice(index)


def _called(gpu: nvml.Gpu) -> str:
    return f"{gpu.name} (compute capability {gpu.capability[0]}.{gpu.capability[1]})"


def _find_version_file() -> Path:
    """Where the installed torch says what it is; importing it would take the front a second."""
    spec = importlib.util.find_spec("torch")
    return Path(next(iter((spec and spec.submodule_search_locations) or [""]))) / "version.py"


def torch_versions(version_file: Path) -> tuple[str, str | None]:
    """(version of torch, version of the CUDA it was built for), as its version.py has them."""
    try:
        text = version_file.read_text(encoding="utf-8")
    except OSError:
        return "unknown", None
    version = re.search(r"^__version__\b[^=]*=\s*['\"]([^'\"]+)", text, re.MULTILINE)
    cuda = re.search(r"^cuda\b[^=]*=\s*['\"]([^'\"]+)", text, re.MULTILINE)
    return version[1] if version else "unknown", cuda[1] if cuda else None


def compiled(function: Function, backend: str = "inductor") -> Function:
    """The function by torch.compile, once for any number of tokens, and once for all layers."""
    import torch
    import torch._dynamo

    torch._dynamo.config.allow_unspec_int_on_nn_module = True  # the number of a layer is no reason for another kernel
    made: Any = torch.compile(function, dynamic=True, backend=backend)
    return made


class CudaEvent(Event):
    """In the stream that is current when it is recorded."""

    def __init__(self, torch: Any):
        self._event = torch.cuda.Event(enable_timing=True)

    def record(self) -> None:
        self._event.record()

    def hold(self) -> None:
        self._event.wait()

    def synchronize(self) -> None:
        self._event.synchronize()

    def elapsed_ms(self, end: Event) -> float:
        assert isinstance(end, CudaEvent)
        end.synchronize()
        return float(self._event.elapsed_time(end._event))


def run_now(outside: Callable[[], None]) -> None:
    """A `Pause` where nothing is being recorded."""
    outside()


class CudaGraph(Graph):
    """Pieces, and what is called behind each: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs"""

    def __init__(self) -> None:
        self.pieces: list[tuple[Any, Callable[[], None]]] = []

    def replay(self) -> None:
        for piece, outside in self.pieces:
            piece.replay()
            outside()


class CudaCopy(HostCopy):
    """Into pinned memory; an event tells when it is there."""

    def __init__(self, torch: Any, tensor: Any):
        self._tensor = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._tensor.copy_(tensor, non_blocking=True)
        self._done = torch.cuda.Event()
        self._done.record()

    def wait(self) -> Any:
        self._done.synchronize()
        return self._tensor


class CudaDevice(Device):
    max_in_flight = 2
    pads_steps = True

    def __init__(self, index: int = 0) -> None:
        import torch  # start-up time, as in cpu.py

        self._torch = torch
        try:
            torch.cuda.set_device(index)
            self.capability = torch.cuda.get_device_capability(index)
            self.name = torch.cuda.get_device_name(index)
        except (RuntimeError, AssertionError) as e:  # torch asserts that it was built with CUDA
            raise StartError(f"--device cuda: torch cannot use the GPU: {str(e).splitlines()[0]}") from e
        self._device = torch.device("cuda", index)
        self._side = torch.cuda.Stream(self._device)
        self._pool: Any = None
        self._graphs: WeakSet[CudaGraph] = WeakSet()  # those that share it
        self._broken: list[Any] = []  # recordings that could not be ended
        self._graph_bytes = 0
        self._stages: list[tuple[Any, Any]] = []  # pinned buffers and when each is free again
        self._next_stage = 0

    @property
    def torch_device(self) -> Any:
        return self._device

    @property
    def has_own_memory(self) -> bool:
        return True

    def stream(self) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self._torch.cuda.stream(self._side)
        return context

    def event(self) -> Event:
        return CudaEvent(self._torch)

    def memory(self) -> tuple[int, int]:
        free, total = self._torch.cuda.mem_get_info(self._device)
        return int(free), int(total)

    def synchronize(self) -> None:
        self._torch.cuda.synchronize(self._device)

    def copy_in(self, tensor: Any) -> Any:
        # The allocator of pinned memory keeps the buffer until the copy has been made.
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def copy_out(self, tensor: Any) -> HostCopy:
        return CudaCopy(self._torch, tensor)

    def fill(self, target: Any, source: Any) -> None:
        """Through two pinned buffers in turn: while one is copied to the device, the next is read from the file."""
        if not target.is_contiguous() or target.shape != source.shape:
            target.copy_(source)
            return
        flat, into = source.reshape(-1), target.view(-1)
        step = STAGE_BYTES // source.element_size()
        for start in range(0, flat.numel(), step):
            piece = flat[start : start + step]
            stage, free = self._stage()
            free.synchronize()
            staged = stage[: piece.numel() * piece.element_size()].view(piece.dtype)
            staged.copy_(piece)
            if into.dtype == piece.dtype:
                into[start : start + step].copy_(staged, non_blocking=True)
            else:
                into[start : start + step].copy_(staged.to(self._device, non_blocking=True))
            free.record()

    def _stage(self) -> tuple[Any, Any]:
        if not self._stages:
            for _ in range(2):
                buffer = self._torch.empty(STAGE_BYTES, dtype=self._torch.uint8, pin_memory=True)
                self._stages.append((buffer, self._torch.cuda.Event()))
        self._next_stage = 1 - self._next_stage
        return self._stages[self._next_stage]

    def graph(self, work: Callable[[Pause], None]) -> Graph:
        self.synchronize()
        with self._torch.cuda.stream(self._side):
            # Compiles and loads kernels, which cannot be done while recording. In the stream that records, so that what
            # the library of products keeps for each stream comes from ordinary memory, and not from that of graphs.
            work(run_now)
            self.synchronize()
            before, _ = self.memory()
            if not self._graphs:  # torch takes no pool again that was left by all graphs
                self._pool = self._torch.cuda.graph_pool_handle()
            graph = self._record(work)
        self._graphs.add(graph)
        self._graph_bytes += max(0, before - self.memory()[0])
        return graph

    def _record(self, work: Callable[[Pause], None]) -> CudaGraph:
        graph = CudaGraph()
        piece: Any = None

        def begin() -> None:
            # Not torch.cuda.graph(): that gives all cached memory back first, and the next step would wait for it.
            nonlocal piece
            piece = self._torch.cuda.CUDAGraph()
            piece.capture_begin(pool=self._pool, capture_error_mode="thread_local")

        def end(outside: Callable[[], None]) -> None:
            nonlocal piece
            piece.capture_end()
            graph.pieces.append((piece, outside))
            piece = None

        def pause(outside: Callable[[], None]) -> None:
            end(outside)
            begin()

        try:
            begin()
            work(pause)
            end(lambda: None)
        except BaseException:  # boundary: whatever it is, the recording must end
            if piece is not None:
                self._end_broken(piece)
            raise
        return graph

    def _end_broken(self, piece: Any) -> None:
        """End a recording that failed, whose memory nobody will use."""
        try:
            piece.capture_end()
        except RuntimeError:  # it says that the recording is broken, and not by what
            # Torch then leaves its allocators believing that it goes on: they would give no memory back any more.
            with suppress(RuntimeError, AttributeError):
                self._torch._C._cuda_endAllocateToPool(self._device.index, self._pool)
            self._broken.append(piece)  # the allocator of host memory asks it still

    def compile(self, function: Function) -> Function:
        return compiled(function)

    def graph_bytes(self) -> int:
        return self._graph_bytes

    def is_out_of_memory(self, error: BaseException) -> bool:
        if isinstance(error, self._torch.OutOfMemoryError):
            return True
        # Said by those that take memory beside torch's allocator: libraries, and whoever loads kernels.
        return isinstance(error, RuntimeError) and any(word in str(error) for word in FULL)

    def give_back(self) -> None:
        self._torch.cuda.empty_cache()
        with suppress(AttributeError):  # what weights were parked in, too
            self._torch._C._host_emptyCache()

    def host_tensor(self, num_bytes: int) -> Any:
        return self._torch.empty(num_bytes, dtype=self._torch.uint8, pin_memory=True)

    def set_threads(self, count: int) -> tuple[int, list[tuple[int, ...]]]:
        return count or min(HOST_THREADS, physical_cores()), []

    def begin_steps(self) -> None:
        self._stages.clear()
        keep_freed_memory()
