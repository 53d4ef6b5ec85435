"""The channel between front and core: private, ordered, and deaf to garbage."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from penstock.engine.ipc import CoreChannel, FrontChannel, make_socket_folder, remove_socket_folder
from penstock.engine.messages import AbortRequests, AddRequest, CoreOutputs, FromCore, Hello, Loading
from penstock.engine.supervisor import RestartBudget
from penstock.errors import StartError
from penstock.params import SamplingParams
from penstock.scheduler.plan import EngineOutput, FinishReason


def test_messages_pass_in_order_and_garbage_is_dropped() -> None:
    got: list[FromCore] = []
    requests = [AddRequest(str(i), [1, 2, i], SamplingParams(seed=i, stop="x"), 0.5) for i in range(300)]
    outputs = [CoreOutputs([EngineOutput(str(i), [i], FinishReason.STOP)]) for i in range(300)]
    junk = random.Random(0)

    async def check(folder: Path) -> None:
        front = FrontChannel(folder, got.append)
        core = CoreChannel(front.address)
        core.send(Hello())
        while not got:
            await asyncio.sleep(0.001)
        for request in requests:
            front.send(request)
            front._socket.send(junk.randbytes(junk.randrange(60)))
        front.send(AbortRequests(["5"]))
        assert [core.receive(2000) for _ in requests] == requests
        assert core.receive(2000) == AbortRequests(["5"])
        assert core.receive(0) is None
        for output in outputs:
            core.send(output)
            core._socket.send(junk.randbytes(junk.randrange(60)))
        core.send(Loading("end", 1.0))
        while got[-1] != Loading("end", 1.0):
            await asyncio.sleep(0.001)
        front.close()
        front.close()
        core.close()

    folder = make_socket_folder()
    try:
        assert folder.stat().st_mode & 0o777 == 0o700
        asyncio.run(asyncio.wait_for(check(folder), 20))
    finally:
        remove_socket_folder(folder)
    assert got[1:-1] == outputs
    assert not folder.exists()


def test_nothing_blocks_on_a_core_that_is_not_there() -> None:
    async def check(folder: Path) -> None:
        front = FrontChannel(folder, lambda m: None)
        for _ in range(5000):
            front.send(AbortRequests(["1"]))
        front.close()

    folder = make_socket_folder()
    try:
        asyncio.run(asyncio.wait_for(check(folder), 5))
    finally:
        remove_socket_folder(folder)


def test_the_folder_can_be_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RPC_BASE_PATH", "/no/such/folder")
    with pytest.raises(StartError, match="cannot make a folder"):
        make_socket_folder()
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.setenv("PENSTOCK_RPC_BASE_PATH", str(deep))
    with pytest.raises(StartError, match="too long for a unix socket"):
        make_socket_folder()
    assert list(deep.iterdir()) == []


def test_only_our_own_folders_are_removed(tmp_path: Path) -> None:
    remove_socket_folder(tmp_path)
    assert tmp_path.exists()


def test_restart_budget() -> None:
    now = [0.0]
    budget = RestartBudget(3, 600, clock=lambda: now[0])
    assert [budget.take() for _ in range(4)] == [True, True, True, False]
    now[0] = 601.0
    assert budget.take()
