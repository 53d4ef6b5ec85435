"""Tape: work on the CPU that was done once is done again without the Python that decided what to do.

While a tape records, torch tells it of every operation. Kernels that torch does not know are noted by whoever calls
them: it adds itself to `issuers`. What a call reads and writes stays where it is, so a replay is a list of calls.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

Call = Callable[..., object]

issuers: list[Callable[[Tape], AbstractContextManager[None]]] = []  # entered while a tape records

ALLOCATING = {"aten::empty.memory_format", "aten::empty_like", "aten::new_empty", "aten::empty_strided"}
UNFIT = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
ROUND = 4096  # bytes


class Temporaries:
    """Memory for what lives only while some work runs. Tapes that never run at once share it. What torch's operations
    compute with stays taken; kernels that get addresses need no more than what lives at a time."""

    def __init__(self) -> None:
        self._free: list[torch.Tensor] = []
        self.num_bytes = 0

    def take(self, like: torch.Tensor) -> torch.Tensor:
        """An uninitialized tensor like a new one, whose memory is taken again once nobody holds it."""
        used = like.untyped_storage().nbytes()
        size = max(1, used)
        fitting = [i for i, memory in enumerate(self._free) if memory.nbytes >= size]
        if fitting:
            memory = self._free.pop(min(fitting, key=lambda i: self._free[i].nbytes))
        else:
            memory = torch.empty(-(-size // ROUND) * ROUND, dtype=torch.uint8)
            self.num_bytes += memory.nbytes
        lent = memory.numpy()[:size]  # an object of its own, which the tensor and all views of it keep
        weakref.finalize(lent, self._free.append, memory).atexit = False
        return torch.from_numpy(lent)[:used].view(like.dtype).as_strided(like.shape, like.stride())


class Tape(TorchDispatchMode):
    """Records while `recording`; `replay` does it again, on the same memory.

    What was read from a tensor into a Python number while it recorded would not be read again, and is refused where
    torch tells of it.
    """

    def __init__(self, temporaries: Temporaries):
        super().__init__()
        self._temporaries = temporaries
        self._calls: list[tuple[Call, tuple[Any, ...]]] = []
        self._thread: int | None = None  # that is being recorded

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Torch asks this when the class is made. With yes, its compiler is imported for the first operation that is
        # recorded: that takes a second, in the middle of a step, and nothing is compiled on a CPU.
        return False

    @contextmanager
    def recording(self) -> Iterator[None]:
        """What this thread computes inside is done, and noted."""
        with ExitStack() as entered:
            for issuer in issuers:
                entered.enter_context(issuer(self))
            entered.enter_context(self)
            self._thread = threading.get_ident()
            try:
                yield
            finally:
                self._thread = None

    @property
    def listens(self) -> bool:
        """Whether what this thread calls now is to be noted."""
        return self._thread == threading.get_ident()

    def note(self, call: Call, *args: object) -> None:
        """Call it with these when the work has come to this point."""
        self._calls.append((call, args))

    def pause(self, outside: Callable[[], None]) -> None:
        """Call this now and in every replay; what it computes is not recorded."""
        self.note(outside)
        thread, self._thread = self._thread, None
        try:
            outside()
        finally:
            self._thread = thread

    def replay(self) -> None:
        for call, args in self._calls:
            call(*args)

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not self.listens:
            return result
        if func.name() in ALLOCATING:
            return self._temporaries.take(result)
        results = result if isinstance(result, (tuple, list)) else (result,)
        if func._schema.is_mutable:
            self.note(partial(func, *args, **kwargs))
        elif not all(isinstance(r, torch.Tensor) for r in results) or not _has_one_shape(func, args):
            raise RuntimeError(f"what {func.name()} gives depends on values, so it cannot be recorded")
        elif not _lie_in(results, (*args, *kwargs.values())):  # views, and copies that were not needed, compute nothing
            self.note(_into, results, func, args, kwargs)
        return result


def _has_one_shape(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether the shapes of what an operation gives follow from those of its arguments."""
    if func is torch.ops.aten.index.Tensor:  # not for masks, which are boolean, or bytes
        return all(index is None or index.dtype.is_signed for index in args[1])
    return UNFIT.isdisjoint(func.tags)


def _lie_in(results: Sequence[torch.Tensor], args: tuple[object, ...]) -> bool:
    """Whether all results are memory of the arguments."""
    known = {a.untyped_storage().data_ptr() for a in args if isinstance(a, torch.Tensor)}
    return all(r.untyped_storage().data_ptr() in known for r in results)


def _into(results: Sequence[torch.Tensor], func: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Compute once more, to where the results lie."""
    found = func(*args, **kwargs)
    for result, one in zip(results, found if isinstance(found, (tuple, list)) else (found,), strict=True):
        result.copy_(one)
