"""What the engine may know about the machine (Platform) and do with its accelerator (Device).

Platforms answer without torch, so that the front can resolve options; only a Device imports it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PlatformFacts:
    """What resolving options needs to know.

    Attributes:
        name: "cpu", ...
        memory_total, memory_free: bytes this process may use and has left, container limits included.
        physical_cores: cores this process may use, hyperthreads not counted.
        supported_dtypes: names of types the platform computes in.
        fast_16bit: whether products in the preferred 16-bit type are faster than in float32.
    """

    name: str
    memory_total: int
    memory_free: int
    physical_cores: int
    supported_dtypes: tuple[str, ...]
    fast_16bit: bool = True


class Event(ABC):
    """A point in a stream's work."""

    @abstractmethod
    def record(self) -> None:
        """Mark the work issued so far."""

    @abstractmethod
    def query(self) -> bool:
        """Whether the marked work is done."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until it is."""

    @abstractmethod
    def elapsed_ms(self, end: Event) -> float:
        """Milliseconds between this recorded event and `end`."""


class Device(ABC):
    """One device, as the worker drives it."""

    @property
    @abstractmethod
    def torch_device(self) -> Any:
        """The `torch.device` tensors are put on."""

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

    @abstractmethod
    def facts(self) -> PlatformFacts:
        """Measured now."""

    @abstractmethod
    def preferred_16bit(self) -> str:
        """ "bfloat16" or "float16": what 32-bit checkpoints are run in when the user leaves it open."""

    @abstractmethod
    def device(self, index: int = 0) -> Device:
        """Opens a device; imports torch."""
