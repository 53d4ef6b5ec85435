"""A tape does again what was done, and refuses what it could not."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from penstock.ops import kernels
from penstock.ops.matrix import PackedMatrix
from penstock.ops.rms_norm import add_rms_norm, rms_norm
from penstock.ops.silu_and_mul import silu_and_mul
from penstock.platforms.base import Pause
from penstock.platforms.cpu import CpuDevice
from penstock.platforms.tape import Tape, Temporaries

needs_kernels = pytest.mark.skipif(kernels.native is None, reason="the C++ kernels were not built")


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def recorded(work: Callable[[], object]) -> Tape:
    tape = Tape(Temporaries())
    with tape.recording():
        work()
    return tape


WORKS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "new tensors": lambda x: (x + 1).relu() @ x.T,
    "in place": lambda x: x.clone().mul_(2).add_(x),
    "into an empty one": lambda x: torch.add(x, 1, out=torch.empty_like(x)),
    "parts": lambda x: x.clone()[1:].t().reshape(-1)[::2].contiguous() * 3,
    "views that copy": lambda x: x.t().reshape(-1).to(torch.bfloat16).float() + x.t().contiguous().flatten(),
    "views that do not": lambda x: x.reshape(-1).to(torch.float32).contiguous().view(3, -1) - 1,
    "several results": lambda x: x.topk(2).values + x.sort(1, descending=True).indices[:, :2],
    "rows by index": lambda x: x[torch.tensor([3, 1]), None, 2:],
    "an empty one like a transposed one": lambda x: torch.add(x.t(), 1, out=torch.empty_like(x.t())).reshape(-1),
    "rows": lambda x: x.index_select(0, torch.tensor([3, 1, 1])),
    "slices": lambda x: torch.cat([part * i for i, part in enumerate(x.split(2, 1))], 1),
    "constants": lambda x: torch.zeros(4, 6) + torch.arange(6) + torch.ones_like(x) * x.sum(),
    "keywords": lambda x: torch.sum(input=x, dim=0, keepdim=True, dtype=torch.float64),
}


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_a_replay_computes_from_what_lies_there_now(work: Callable[[torch.Tensor], torch.Tensor]) -> None:
    x = torch.randn(4, 6)
    out = torch.zeros_like(work(x))
    tape = recorded(lambda: out.copy_(work(x)))
    assert torch.equal(out, work(x))
    for _ in range(3):
        x.copy_(torch.randn(4, 6))
        tape.replay()
        assert torch.equal(out, work(x))


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: torch.equal(x, x),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.unique(),
    ],
)
def test_what_depends_on_values_is_refused(work: Callable[[torch.Tensor], object]) -> None:
    x = torch.randn(4, 6)
    with pytest.raises(RuntimeError, match="cannot be recorded"):
        recorded(lambda: work(x))
    native = kernels.native
    assert native is None or not hasattr(native, "_tape"), "the kernels are still being watched"


@needs_kernels
def test_kernels_that_torch_does_not_know() -> None:
    matrix = PackedMatrix(40, 64, torch.float32)
    matrix.weight_NK.copy_(torch.randn(40, 64))
    matrix.finish()
    weight, x, residual, out = torch.rand(64), torch.randn(3, 64), torch.randn(3, 64), torch.zeros(3, 20)

    def work() -> torch.Tensor:
        own = residual.clone()
        return silu_and_mul(matrix.multiply(rms_norm(add_rms_norm(x, own, weight, 1e-6) + own, weight, 1e-6)))

    tape = recorded(lambda: out.copy_(work()))
    for _ in range(3):
        x.copy_(torch.randn(3, 64))
        tape.replay()
        assert torch.equal(out, work())


@needs_kernels
def test_temporaries_are_used_again_but_not_while_they_live() -> None:
    temporaries, x, weight = Temporaries(), torch.randn(32, 1024), torch.rand(1024)
    out = torch.zeros(2, 1024)

    def work() -> torch.Tensor:
        y, halves = rms_norm(x, weight, 1e-6), torch.rand(1024)
        for _ in range(20):
            kept = y[3:5]  # a view holds the memory
            y = rms_norm(rms_norm(y, halves, 1e-6), weight, 1e-6)
            add_rms_norm(kept, y[7:9], weight, 1e-6)
        return y[7:9]

    tapes = []
    for _ in range(2):
        torch.manual_seed(1)
        tape = Tape(temporaries)
        with tape.recording():
            out.copy_(work())
        tapes.append(tape)
    assert temporaries.num_bytes <= 6 * x.nbytes
    for tape in tapes:
        x.copy_(torch.randn(32, 1024))
        torch.manual_seed(1)
        tape.replay()
        torch.manual_seed(1)
        assert torch.equal(out, work())


def test_a_pause_is_called_and_not_recorded() -> None:
    x, y, calls = torch.ones(3), torch.zeros(3), []

    def work(pause: Pause) -> None:
        y.copy_(x * 2)
        pause(lambda: calls.append(y.add_(len(calls)).tolist()))
        y.mul_(10)

    graph = CpuDevice().graph(work)
    assert (calls, y.tolist()) == ([[2.0] * 3], [20.0] * 3)
    x += 1
    graph.replay()
    assert (calls[1:], y.tolist()) == ([[5.0] * 3], [50.0] * 3)


def test_other_threads_are_not_recorded() -> None:
    x, y = torch.zeros(3), torch.zeros(3)
    weight = torch.ones(3)

    def elsewhere() -> None:
        with torch.inference_mode():
            y.add_(rms_norm(torch.ones(1, 3), weight, 0.0)[0])

    def work() -> None:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        x.add_(1)

    tape = recorded(work)
    tape.replay()
    assert (x.tolist(), y.tolist()) == ([2.0] * 3, [1.0] * 3)


@needs_kernels
def test_memory_goes_with_the_last_graph() -> None:
    device, x, weight = CpuDevice(), torch.ones(1, 1000), torch.rand(1000)

    def work(pause: Pause) -> None:
        add_rms_norm(rms_norm(x, weight, 0.0), x, weight, 0.0)

    graphs = [device.graph(work) for _ in range(2)]
    assert device.graph_bytes() == 2 * 4096
    graphs.pop().replay()
    assert device.graph_bytes() == 2 * 4096
    graphs.clear()
    assert device.graph_bytes() == 0


def test_recording_imports_no_compiler() -> None:
    """It would take a second of the first step that is recorded."""
    program = (
        "import sys, torch\n"
        "from penstock.platforms.cpu import CpuDevice\n"
        "x = torch.ones(3)\n"
        "CpuDevice().graph(lambda pause: x.add_(torch.empty(3).fill_(1))).replay()\n"
        "assert x.tolist() == [3.0] * 3\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
