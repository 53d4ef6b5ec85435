"""What a Device promises, on the CPU and, where there is one, on a GPU: the same tests for both."""

from __future__ import annotations

import pytest
import torch

from penstock import platforms
from penstock.platforms.base import Device, Pause

PLACES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=PLACES)
def device(request: pytest.FixtureRequest) -> Device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU that torch.cuda sees")
    return platforms.current(request.param).device()


def test_a_graph_runs_again_on_the_same_memory(device: Device) -> None:
    x = torch.zeros(4, device=device.torch_device)
    out = torch.zeros(4, device=device.torch_device)

    def work(pause: Pause) -> None:
        out.copy_(x.exp() * 2)

    def more(pause: Pause) -> None:
        out.add_(1)

    before = device.graph_bytes()
    graphs = [device.graph(work), device.graph(more)]
    assert device.graph_bytes() >= before
    for start in (1.0, -3.0):
        x.fill_(start)
        graphs[0].replay()
        graphs[1].replay()
        assert torch.equal(out, torch.full_like(out, start).exp() * 2 + 1)


def test_what_a_graph_pauses_for_is_called_each_time(device: Device) -> None:
    x = torch.zeros(3, device=device.torch_device)
    addend = 0.0

    def outside() -> None:
        x.add_(addend)

    def work(pause: Pause) -> None:
        doubled = x * 2  # outlives the pause
        pause(outside)
        x.add_(doubled)
        pause(outside)

    graph = device.graph(work)
    x.fill_(1.0)
    addend = 10.0
    graph.replay()
    assert x.tolist() == [23.0] * 3  # 1 + 10 + 2 * 1 + 10
    addend = 0.5
    graph.replay()
    assert x.tolist() == [70.0] * 3


def test_a_failure_while_recording_is_the_callers(device: Device) -> None:
    x = torch.zeros(2, device=device.torch_device)
    calls = []

    def work(pause: Pause) -> None:
        calls.append(0)
        if len(calls) == (2 if device.torch_device.type == "cuda" else 1):  # while it records
            raise ValueError("broken")
        x.add_(1)

    with pytest.raises(ValueError, match="broken"):
        device.graph(work)

    def good(pause: Pause) -> None:
        x.fill_(7.0)

    device.graph(good).replay()
    assert x.tolist() == [7.0, 7.0]


def test_graphs_are_recorded_again_when_all_have_gone(device: Device) -> None:
    x = torch.zeros(2, device=device.torch_device)

    def work(pause: Pause) -> None:
        x.copy_(x * 2 + 1)

    for _ in range(2):
        device.graph(work)
        device.give_back()
    graph = device.graph(work)
    x.fill_(3.0)
    graph.replay()
    assert x.tolist() == [7.0, 7.0]


def test_copies_in_and_out(device: Device) -> None:
    host = torch.arange(1000)
    there = device.copy_in(host)
    assert there.device == device.torch_device
    back = device.copy_out(there + 1)
    assert torch.equal(back.wait(), host + 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(3,), (70, 1 << 18)])  # the second one takes more than one piece
def test_filling_converts(device: Device, dtype: torch.dtype, size: tuple[int, ...]) -> None:
    source = torch.randn(size).to(torch.bfloat16)
    target = torch.empty(size, dtype=dtype, device=device.torch_device)
    device.fill(target, source)
    device.synchronize()
    assert torch.equal(target.cpu(), source.to(dtype))


def test_filling_what_is_not_in_one_piece(device: Device) -> None:
    target = torch.zeros(4, 6, device=device.torch_device)
    device.fill(target[:, 1:3], torch.ones(4, 2))
    assert target.sum(0).tolist() == [0, 4, 4, 0, 0, 0]


def test_memory_errors_are_told_from_others(device: Device) -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(1 << 50, dtype=torch.uint8, device=device.torch_device)
    assert device.is_out_of_memory(error.value)
    assert not device.is_out_of_memory(RuntimeError("another"))


def test_events_and_memory(device: Device) -> None:
    first, last = device.event(), device.event()
    first.record()
    with device.stream():
        torch.ones(10, device=device.torch_device).sum()
    last.record()
    device.synchronize()
    assert first.elapsed_ms(last) >= 0
    free, total = device.memory()
    assert 0 < free <= total


def test_what_it_is(device: Device) -> None:
    assert device.name
    assert device.max_in_flight == (2 if device.torch_device.type == "cuda" else 1)
    assert (device.capability is None) == (device.torch_device.type == "cpu")
