"""The instruction sets that this machine can run, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.ops import kernels


@pytest.fixture(params=[n for n in kernels.names() if n != kernels.TWINS])
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    before = kernels.native.isa() if kernels.native is not None else kernels.TWINS
    kernels.choose(request.param)
    yield request.param
    kernels.choose(before)
