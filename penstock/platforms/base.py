"""What the engine may know about the machine (Platform) and do with its accelerator (Device).

Platforms answer without torch, so that the front can resolve options; only a Device imports it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar


@dataclass(frozen=True)
class PlatformFacts:
    """What resolving options needs to know.

    Attributes:
        name: "cpu", ...
        memory_total, memory_free: bytes this process may use and has left, container limits included.
        physical_cores: cores this process may use, hyperthreads not counted.
        supported_dtypes: names of types the platform computes in.
        fast_16bit: whether products in the preferred 16-bit type are faster than in float32.
        device_name: of an accelerator, with what it can do, for messages.
    """

    name: str
    memory_total: int
    memory_free: int
    physical_cores: int
    supported_dtypes: tuple[str, ...]
    fast_16bit: bool = True
    device_name: str = ""


class Event(ABC):
    """A point in a stream's work."""

    @abstractmethod
    def record(self) -> None:
        """Mark the work issued so far."""

    @abstractmethod
    def hold(self) -> None:
        """Let what is issued from now on, in the current stream, wait for the marked work; the host does not."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until it is."""

    @abstractmethod
    def elapsed_ms(self, end: Event) -> float:
        """Milliseconds between this recorded event and `end`."""


class Graph(ABC):
    """Work that was recorded once and runs again on the same memory at the cost of one call."""

    @abstractmethod
    def replay(self) -> None:
        """Issue it once more, in order with what was issued before."""


class HostCopy(ABC):
    """A tensor on its way to the host."""

    @abstractmethod
    def wait(self) -> Any:
        """The tensor on the host, once it has arrived."""


Function = TypeVar("Function", bound=Callable[..., Any])
Pause = Callable[[Callable[[], None]], None]


class Device(ABC):
    """One device, as the worker drives it.

    Attributes:
        name: as its maker calls it.
        max_in_flight: steps that may be issued before the first one's result is read; more would gain nothing.
        capability: of an NVIDIA GPU: (major, minor) of what it can do.
        pads_steps: some rows more cost a step next to nothing, so that graphs of a few sizes serve all steps.
    """

    name: str = ""
    max_in_flight: int = 1
    pads_steps: bool = False
    capability: tuple[int, int] | None = None

    @property
    @abstractmethod
    def torch_device(self) -> Any:
        """The `torch.device` tensors are put on."""

    @property
    @abstractmethod
    def has_own_memory(self) -> bool:
        """Whether its memory is another than the host's."""

    @abstractmethod
    def stream(self) -> AbstractContextManager[Any]:
        """Work issued inside the `with` runs on a side stream, in order."""

    @abstractmethod
    def event(self) -> Event:
        """A new event."""

    @abstractmethod
    def memory(self) -> tuple[int, int]:
        """(free, total) bytes."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait for everything issued."""

    @abstractmethod
    def copy_in(self, tensor: Any) -> Any:
        """A host tensor's values on the device, without waiting for it. Nobody may change the host tensor any more: it
        may be the result itself."""

    @abstractmethod
    def copy_out(self, tensor: Any) -> HostCopy:
        """Starts to copy a tensor to the host, behind the work that was issued before; does not wait."""

    @abstractmethod
    def fill(self, target: Any, source: Any) -> None:
        """Copy a host tensor, which may be a view of a file, over one of the same shape on the device, converting its
        type. Returns once the source is read; what is issued later sees the values."""

    @abstractmethod
    def graph(self, work: Callable[[Pause], None]) -> Graph:
        """Record what `work` issues. It is called twice or more, reads and writes only tensors that outlive the graph,
        and neither waits for the device nor copies from or to the host. All graphs of a device share the memory of
        their temporaries, so one runs at a time.

        Args:
            work: is given a function; what it passes to that is not recorded, but called, whenever the graph has come
                to that point.

        Raises:
            RuntimeError: the device refuses to record some of it, or its memory is full, see `is_out_of_memory`.
        """

    @abstractmethod
    def compile(self, function: Function) -> Function:
        """The same function, made by a compiler into fewer and larger kernels where the device has one."""

    @abstractmethod
    def graph_bytes(self) -> int:
        """Memory that recording graphs has taken so far."""

    @abstractmethod
    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether this error says that the device's memory is full."""

    @abstractmethod
    def give_back(self) -> None:
        """Return memory that was freed, and is kept for reuse, to the system."""

    @abstractmethod
    def host_tensor(self, num_bytes: int) -> Any:
        """An uninitialized uint8 tensor in host memory from which copies to the device need not wait."""

    @abstractmethod
    def set_threads(self, count: int) -> tuple[int, list[tuple[int, ...]]]:
        """Settle where `count` host threads will compute, 0 for the platform's choice.

        Returns:
            how many they are, and the processors of a core for each; none if the operating system may choose.
        """

    @abstractmethod
    def begin_steps(self) -> None:
        """Loading is over: from now on steps of about the same size follow each other."""


class Platform(ABC):
    """One kind of machine."""

    name: str

    def refusal(self) -> str | None:
        """Why nothing can be computed on it here, as words behind a colon; None if it can."""
        return None

    def seen(self) -> bool:
        """Whether there is such a machine here at all."""
        return True

    @abstractmethod
    def facts(self) -> PlatformFacts:
        """Measured now."""

    @abstractmethod
    def preferred_16bit(self) -> str:
        """ "bfloat16" or "float16": what 32-bit checkpoints are run in when the user leaves it open."""

    def expect_weights(self, num_bytes: int) -> AbstractContextManager[None]:
        """For the time of loading, entered before torch is imported: a chance to make memory ready.

        Args:
            num_bytes: what the matrices of products will take.
        """
        return nullcontext()

    @abstractmethod
    def device(self, index: int = 0) -> Device:
        """Opens a device; imports torch."""
