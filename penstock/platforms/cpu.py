"""The CPU as a device: streams run in order on the calling thread, memory is what the container leaves.

Facts come from psutil and, on Linux, from /proc and the control groups; torch is imported when a device is opened.
"""

from __future__ import annotations

import ctypes
import os
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from penstock import envs
from penstock.errors import StartError
from penstock.platforms.base import Device, Event, Function, Graph, HostCopy, Pause, Platform, PlatformFacts
from penstock.platforms.cores import BINDING, allowed_cores, cpus_to_keep_to
from penstock.platforms.huge_pages import huge_pages
from penstock.plugins import load_object

CGROUPS = Path("/sys/fs/cgroup")
KEPT_BYTES = 1 << 29  # freed memory that stays with the process
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's <malloc.h>
ALLOCATOR = "DefaultCPUAllocator"  # what torch's error for a failed allocation names
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # instructions for products of bfloat16, on x86 and on ARM


class CpuPlatform(Platform):
    name = "cpu"

    def facts(self) -> PlatformFacts:
        total, free = memory()
        return PlatformFacts(
            name=self.name,
            memory_total=total,
            memory_free=free,
            physical_cores=physical_cores(),
            supported_dtypes=("bfloat16", "float16", "float32"),
            fast_16bit=not BFLOAT16_FLAGS.isdisjoint(_cpu_info("flags", "Features").split()),
        )

    def preferred_16bit(self) -> str:
        return "bfloat16"  # torch has fast products for it here, and none for float16

    def expect_weights(self, num_bytes: int) -> AbstractContextManager[None]:
        # Matrices of the torch twins lie in memory of torch's.
        packed = envs.CPU_ISA != "torch" and find_spec("penstock.ops._kernels") is not None
        return huge_pages.reserved(num_bytes) if packed and num_bytes < memory()[1] else nullcontext()

    def device(self, index: int = 0) -> Device:
        assert index == 0
        return CpuDevice()


class CpuEvent(Event):
    """Work is done when the call that issued it returns, so an event is a time."""

    def __init__(self) -> None:
        self._time: float | None = None

    def record(self) -> None:
        self._time = time.perf_counter()

    def hold(self) -> None:
        pass

    def synchronize(self) -> None:
        pass

    def elapsed_ms(self, end: Event) -> float:
        assert isinstance(end, CpuEvent)
        assert self._time is not None
        assert end._time is not None
        return (end._time - self._time) * 1e3


class CpuGraph(Graph):
    """A tape: what the host saves is the Python between the kernels."""

    def __init__(self, tape: Any):
        self._tape = tape

    def replay(self) -> None:
        self._tape.replay()


class CpuCopy(HostCopy):
    """Where it already is."""

    def __init__(self, tensor: Any):
        self._tensor = tensor

    def wait(self) -> Any:
        return self._tensor


class CpuDevice(Device):
    name = "CPU"

    def __init__(self) -> None:
        import torch  # start-up time: the front asks for facts only, and must not import torch

        self._torch = torch
        self._temporaries: Callable[[], Any] = lambda: None  # what graphs share, while there are any

    @property
    def torch_device(self) -> Any:
        return self._torch.device("cpu")

    @property
    def has_own_memory(self) -> bool:
        return False

    def stream(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def event(self) -> Event:
        return CpuEvent()

    def memory(self) -> tuple[int, int]:
        total, free = memory()
        return free, total

    def synchronize(self) -> None:
        pass

    def copy_in(self, tensor: Any) -> Any:
        return tensor

    def copy_out(self, tensor: Any) -> HostCopy:
        return CpuCopy(tensor)

    def fill(self, target: Any, source: Any) -> None:
        target.copy_(source)

    def graph(self, work: Callable[[Pause], None]) -> Graph:
        temporaries = self._temporaries() or load_object("penstock.platforms.tape:Temporaries")()
        self._temporaries = weakref.ref(temporaries)  # they go with the last graph
        tape = load_object("penstock.platforms.tape:Tape")(temporaries)
        with tape.recording():
            work(tape.pause)
        return CpuGraph(tape)

    def compile(self, function: Function) -> Function:
        return function  # the kernels here are not torch's

    def graph_bytes(self) -> int:
        temporaries = self._temporaries()
        return temporaries.num_bytes if temporaries is not None else 0

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and ALLOCATOR in str(error))

    def give_back(self) -> None:
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None:
            trim(0)

    def host_tensor(self, num_bytes: int) -> Any:
        return self._torch.empty(num_bytes, dtype=self._torch.uint8)

    def set_threads(self, count: int) -> tuple[int, list[tuple[int, ...]]]:
        binding = envs.CPU_OMP_THREADS_BIND
        cpus = cpus_to_keep_to(binding, count or physical_cores(), allowed_cores())
        if cpus is not None:
            if not hasattr(os, "sched_setaffinity"):
                raise StartError(f"{BINDING}: threads cannot be bound to processors on this system.")
            os.sched_setaffinity(0, cpus)  # this thread, and those it starts: pools of threads are made after this
        count, cores = count or physical_cores(), allowed_cores()
        one_each = binding != "nobind" and count <= len(cores)
        return count, [core.cpus for core in cores[:count]] if one_each else []

    def begin_steps(self) -> None:
        keep_freed_memory()


def keep_freed_memory() -> None:
    """Let what one step frees serve the next; other C libraries than glibc do as they please.

    By default every buffer above 32 MiB is a mapping of its own, given back when it is freed: the logits of 64 rows
    over 150,000 tokens are, and their page faults took as long as computing them.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None:
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def memory() -> tuple[int, int]:
    """(total, free) bytes for this process: the machine's, or the tightest control group's if that is less."""
    machine = psutil.virtual_memory()
    total, free = machine.total, machine.available
    for limit, used in _memory_groups():
        if limit < total:
            total = limit
        free = min(free, max(0, limit - used))
    return total, free


def _memory_groups() -> list[tuple[int, int]]:
    """(limit, bytes in use that cannot be dropped) of each control group around this process that has a limit."""
    found = []
    for controller, limit_name, used_name, cache_key in (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for folder in _group_folders(controller):
            limit, used = _number(folder / limit_name), _number(folder / used_name)
            if limit is not None and used is not None:
                found.append((limit, max(0, used - _stat(folder / "memory.stat", cache_key))))
    return found


def physical_cores() -> int:
    """Cores this process may use, a core with two hyperthreads once, and no more than its control group's share."""
    count = len(allowed_cores())
    for folder in _group_folders(""):
        quota, _, period = (_read(folder / "cpu.max") or "max").partition(" ")
        if quota.isdigit() and period.isdigit():
            count = min(count, -(-int(quota) // int(period)))
    for folder in _group_folders("cpu"):
        quota_us, period_us = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota_us and period_us:
            count = min(count, -(-quota_us // period_us))
    return max(1, count)


def _group_folders(controller: str) -> list[Path]:
    """Folders of this process's control group and of all above it; "" is version 2's tree."""
    folders: list[Path] = []
    for line in (_read(Path("/proc/self/cgroup")) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        root = CGROUPS / controllers if controllers else CGROUPS
        inner = Path(path.lstrip("/"))
        # Inside a container the named path may not exist: its root is then the group itself.
        folders += [root / part for part in (inner, *inner.parents)]
    return [f for f in dict.fromkeys(folders) if f.is_dir()]


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text is not None and text.isdigit() else None


def _stat(path: Path, key: str) -> int:
    for line in (_read(path) or "").splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return 0


def _cpu_info(*names: str) -> str:
    """What Linux says about the first processor under one of these names; "" if nothing."""
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in names:
            return value.strip()
    return ""
