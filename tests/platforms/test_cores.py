"""Cores, memory nodes and what threads keep to, on machines made of files."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from penstock.errors import StartError
from penstock.platforms import cpu
from penstock.platforms.cores import Core, allowed_cores, cores_of, cpus_to_keep_to, parse_cpus


def machine(folder: Path, nodes: list[list[tuple[int, ...]]], free: list[int]) -> Path:
    """A tree like /sys/devices/system: nodes of cores of hyperthreads."""
    for number, cores in enumerate(nodes):
        node = folder / f"node/node{number}"
        node.mkdir(parents=True)
        (node / "cpulist").write_text(",".join(str(c) for core in cores for c in core) + "\n")
        (node / "meminfo").write_text(f"Node {number} MemTotal: 99 kB\nNode {number} MemFree:   {free[number]} kB\n")
        for core in cores:
            for c in core:
                topology = folder / f"cpu/cpu{c}/topology"
                topology.mkdir(parents=True)
                (topology / "thread_siblings_list").write_text(",".join(map(str, core)) + "\n")
    return folder


@pytest.fixture
def two_nodes(tmp_path: Path) -> Path:
    """Two nodes of four cores with two hyperthreads; the second has more memory left."""
    return machine(tmp_path, [[(i, i + 8) for i in range(4)], [(i, i + 8) for i in range(4, 8)]], [10, 20])


def test_cores_are_hyperthreads_that_are_allowed(two_nodes: Path) -> None:
    assert cores_of(set(range(16)), two_nodes) == [Core((i, i + 8), i // 4) for i in range(8)]
    assert cores_of({0, 8, 3, 12}, two_nodes) == [Core((0, 8), 0), Core((3,), 0), Core((12,), 1)]


def test_without_files_every_processor_is_a_core(tmp_path: Path) -> None:
    assert cores_of({2, 5}, tmp_path) == [Core((2,)), Core((5,))]


@pytest.mark.parametrize(
    ("allowed", "threads", "expected"),
    [
        (range(16), 4, {4, 5, 6, 7, 12, 13, 14, 15}),  # most free memory
        (range(16), 5, None),  # fit in no node: spread
        (range(16), 8, None),
        ([*range(8), 8, 9], 3, {4, 5, 6, 7}),
        ([0, 1, 2, 3, 4, 5], 3, {0, 1, 2, 3}),  # too few are allowed on the other node
        (range(4), 2, None),  # one node is all there is
    ],
)
def test_auto_keeps_to_one_node(two_nodes: Path, allowed: list[int], threads: int, expected: set[int] | None) -> None:
    assert cpus_to_keep_to("auto", threads, cores_of(set(allowed), two_nodes), two_nodes) == expected


def test_nobind_and_lists(two_nodes: Path) -> None:
    cores = cores_of(set(range(16)), two_nodes)
    assert cpus_to_keep_to("nobind", 2, cores, two_nodes) is None
    assert cpus_to_keep_to("0-2,9", 2, cores, two_nodes) == {0, 1, 2, 9}


@pytest.mark.parametrize("binding", ["all", "0-3|4-7", "3-1", "0;1", ","])
def test_what_is_no_list_is_refused(two_nodes: Path, binding: str) -> None:
    with pytest.raises(StartError, match="VLLM_CPU_OMP_THREADS_BIND must be auto, nobind or .*" + re.escape(binding)):
        cpus_to_keep_to(binding, 2, cores_of({0, 1}, two_nodes), two_nodes)


def test_processors_that_are_not_allowed_are_refused(two_nodes: Path) -> None:
    with pytest.raises(StartError, match=r"may not use: 2, 77\.$"):
        cpus_to_keep_to("0-2,77", 0, cores_of({0, 1}, two_nodes), two_nodes)


def test_lists_of_processors() -> None:
    assert parse_cpus("0-3,8,10-11") == {0, 1, 2, 3, 8, 10, 11}
    assert parse_cpus("") == set()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs an operating system that binds threads")
def test_a_device_computes_on_what_the_list_says(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.sched_getaffinity(0)
    one = min(before)
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", str(one))
    try:
        assert cpu.CpuPlatform().device().set_threads(0) == (1, [(one,)])
        assert os.sched_getaffinity(0) == {one}
        assert allowed_cores() == cores_of({one})
    finally:
        os.sched_setaffinity(0, before)
