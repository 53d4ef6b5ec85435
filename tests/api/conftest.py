"""The server on a fake engine that the API's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from api.fake_server import FakeServer, fake_server


@pytest.fixture(scope="session")
def shared_fake() -> Iterator[FakeServer]:
    with fake_server() as running:
        yield running


@pytest.fixture
def fake(shared_fake: FakeServer) -> Iterator[FakeServer]:
    """The shared server on a fake engine, with its knobs as they were."""
    shared_fake.reset()
    yield shared_fake
    shared_fake.reset()
