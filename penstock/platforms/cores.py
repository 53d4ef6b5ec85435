"""Which processor cores compute: how many there are, on which memory nodes, and which ones to keep to.

Reads Linux's /sys; elsewhere there is one node and nothing to keep to.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from penstock.errors import StartError

SYSTEM = Path("/sys/devices/system")
BINDING = "VLLM_CPU_OMP_THREADS_BIND"


@dataclass(frozen=True)
class Core:
    """A physical core that this process may use.

    Attributes:
        cpus: its hyperthreads that are allowed, ascending.
        node: number of the memory node it belongs to.
    """

    cpus: tuple[int, ...]
    node: int = 0


def allowed_cores(system: Path = SYSTEM) -> list[Core]:
    """By their lowest hyperthread."""
    if not hasattr(os, "sched_getaffinity"):
        return [Core((cpu,)) for cpu in range(psutil.cpu_count(logical=False) or os.cpu_count() or 1)]
    return cores_of(os.sched_getaffinity(0), system)


def cores_of(cpus: set[int], system: Path = SYSTEM) -> list[Core]:
    """The cores that have these hyperthreads, and of each only these."""
    nodes = {
        cpu: int(folder.name.removeprefix("node"))
        for folder in sorted(system.glob("node/node[0-9]*"))
        for cpu in parse_cpus(_read(folder / "cpulist"))
    }
    found: dict[str, list[int]] = {}
    for cpu in sorted(cpus):
        siblings = _read(system / f"cpu/cpu{cpu}/topology/thread_siblings_list")
        found.setdefault(siblings or str(cpu), []).append(cpu)
    return [Core(tuple(threads), nodes.get(threads[0], 0)) for threads in found.values()]


def cpus_to_keep_to(binding: str, threads: int, cores: Sequence[Core], system: Path = SYSTEM) -> set[int] | None:
    """The hyperthreads that compute; None if the operating system may choose.

    Args:
        binding: "auto" keeps to one memory node, the one with most free memory, if there are several and the threads
            fit in one; "nobind" to nothing; a list such as "0-3,8" to these.
        threads: how many will compute; 0 if that is open.
        cores: those that are allowed.

    Raises:
        StartError: the list is none, or names what this process may not use.
    """
    if binding == "nobind":
        return None
    if binding != "auto":
        wanted = _listed(binding)
        if missing := wanted.difference(*(core.cpus for core in cores)):
            names = ", ".join(str(cpu) for cpu in sorted(missing))
            raise StartError(f"{BINDING}={binding} names processors that this process may not use: {names}.")
        return wanted
    by_node: dict[int, list[Core]] = {}
    for core in cores:
        by_node.setdefault(core.node, []).append(core)
    fitting = [node for node, inside in by_node.items() if 0 < threads <= len(inside)]
    if len(by_node) == 1 or not fitting:
        return None
    best = max(fitting, key=lambda node: (_free_memory(node, system), -node))
    return {cpu for core in by_node[best] for cpu in core.cpus}


def parse_cpus(text: str) -> set[int]:
    """The numbers in a list such as "0-3,8".

    Raises:
        ValueError: it is none.
    """
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def _listed(binding: str) -> set[int]:
    try:
        if wanted := parse_cpus(binding):
            return wanted
    except ValueError:
        pass
    raise StartError(f"{BINDING} must be auto, nobind or one list of processors such as 0-3,8, not {binding!r}.")


def _free_memory(node: int, system: Path) -> int:
    for line in _read(system / f"node/node{node}/meminfo").splitlines():
        if "MemFree:" in line:
            return int(line.split("MemFree:")[1].split()[0])
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
