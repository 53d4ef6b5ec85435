"""The threads that compute, beside a program that has the worker's core: results are the same, and workers go back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from penstock.ops import kernels
from penstock.ops.matrix import PackedMatrix
from penstock.platforms.cores import allowed_cores

BUSY = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nprint(flush=True)\nwhile True: pass"


def tasks() -> set[int]:
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}


@pytest.mark.skipif(
    kernels.native is None or sys.platform != "linux", reason="only kernels have threads, and only Linux moves them"
)
def test_an_interrupted_worker_finishes_where_the_caller_is_and_goes_back() -> None:
    cpus = [core.cpus[0] for core in allowed_cores()]
    here, there = cpus[0], cpus[-1]
    matrix, x = PackedMatrix(2048, 1024, torch.bfloat16), torch.randn(1, 1024).to(torch.bfloat16)
    matrix.weight_NK.normal_()
    matrix.finish()
    alone = matrix.multiply(x)
    before, free = tasks(), os.sched_getaffinity(0)
    busy = subprocess.Popen([sys.executable, "-c", BUSY, str(there)], stdout=subprocess.PIPE)
    try:
        assert busy.stdout is not None
        busy.stdout.readline()
        os.sched_setaffinity(threading.get_native_id(), {here})
        kernels.native.set_num_threads(2, [[here], [there]])
        (worker,) = tasks() - before
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert torch.equal(matrix.multiply(x), alone)
        busy.kill()
        deadline = time.monotonic() + 20
        while os.sched_getaffinity(worker) != {there} and time.monotonic() < deadline:
            time.sleep(0.01)
        assert os.sched_getaffinity(worker) == {there}
        assert os.sched_getaffinity(0) == {here}
    finally:
        busy.kill()
        busy.wait()
        os.sched_setaffinity(threading.get_native_id(), free)
        kernels.native.set_num_threads(1)
