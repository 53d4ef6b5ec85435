"""A few hundred bad requests at once: no 5xx, no hang, every 400 names a parameter, nothing stays in the engine."""

from __future__ import annotations

import asyncio

from api_fuzzing import fuzz
from servers import RunningServer


def test_bad_requests_do_no_harm(server: RunningServer) -> None:
    report = asyncio.run(fuzz(server.url, count=400, seed=11))
    assert not report.faults
    assert report.statuses[200] > 50  # the supply is not all nonsense
    assert report.statuses[400] > 100
