"""Counts of HTTP requests, by closed sets of labels: a route's template, a known method, a class of status."""

from __future__ import annotations

from penstock.observability.stats import Histogram

METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})
COARSE_BUCKETS = (0.1, 0.5, 1.0)
FINE_BUCKETS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0, 30.0),
    60.0,
)


class HttpStats:
    """What the server answered.

    Attributes:
        requests: (handler, method, "2xx") -> count.
        request_bytes, response_bytes: handler -> (count, sum).
        durations: (handler, method) -> coarse histogram of seconds. fine_durations: of all together.
    """

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, str], int] = {}
        self.request_bytes: dict[str, tuple[int, int]] = {}
        self.response_bytes: dict[str, tuple[int, int]] = {}
        self.durations: dict[tuple[str, str], Histogram] = {}
        self.fine_durations = Histogram(FINE_BUCKETS)

    def record(self, handler: str, method: str, status: int, seconds: float, received: int, sent: int) -> None:
        """A request was answered.

        Args:
            handler: template of its route, "none" if no route matched; never a raw path.
            received, sent: bytes of the bodies.
        """
        method = method if method in METHODS else "OTHER"
        key = (handler, method, f"{status // 100}xx")
        self.requests[key] = self.requests.get(key, 0) + 1
        _add(self.request_bytes, handler, received)
        _add(self.response_bytes, handler, sent)
        durations = self.durations.get((handler, method))
        if durations is None:
            durations = self.durations[handler, method] = Histogram(COARSE_BUCKETS)
        durations.observe(seconds)
        self.fine_durations.observe(seconds)


def _add(sums: dict[str, tuple[int, int]], handler: str, size: int) -> None:
    count, total = sums.get(handler, (0, 0))
    sums[handler] = (count + 1, total + size)
