"""Fixtures every area shares: the bundled model, and one server for the whole session."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import envs
from servers import ROOT, RunningServer, run_server

# Suites run side by side on few cores, where threads that wait for each other take many times as long. Servers that
# tests start inherit it; tests of several threads set their own number.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    """A test that uses more threads changes nothing for the next one."""
    yield
    if "penstock.ops.kernels" in sys.modules:
        sys.modules["penstock.ops.kernels"].use_threads(envs.OMP_NUM_THREADS)
    elif "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(envs.OMP_NUM_THREADS)


@pytest.fixture(scope="session")
def bundled_model() -> Path:
    return ROOT / "penstock" / "assets" / "tiny"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server with the bundled model and default options, shared by the whole session."""
    with run_server(log=tmp_path_factory.mktemp("server") / "server.log") as running:
        yield running
