"""What NVIDIA's driver says about itself and its GPUs, through its management library. Imports no torch, opens no GPU.

The library comes with the driver: https://docs.nvidia.com/deploy/nvml-api
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

LIBRARY = "libnvidia-ml.so.1"
TEXT_BYTES = 96  # as long as the longest text asked for here


@dataclass(frozen=True)
class Gpu:
    """One GPU, or a slice of one.

    Attributes:
        name: as its maker calls it.
        memory_total, memory_free: bytes.
        capability: (major, minor).
    """

    name: str
    memory_total: int
    memory_free: int
    capability: tuple[int, int]


@dataclass(frozen=True)
class Driver:
    """The driver and what a CUDA program would see of its GPUs.

    Attributes:
        version: such as "580.65.06".
        cuda: (major, minor) of the newest CUDA that it runs.
    """

    version: str
    cuda: tuple[int, int]
    gpus: tuple[Gpu, ...]


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class _Failed(Exception):
    """A call of the library did not return success."""


def read_driver(visible: str | None = None, library: str = LIBRARY) -> Driver | None:
    """
    Args:
        visible: what CUDA_VISIBLE_DEVICES says: numbers or ids with commas between them, of which CUDA takes those
            before the first that it does not know. None: it is not set, and all are visible.

    Returns:
        None if there is no driver, or one that does not answer.
    """
    try:
        lib = ctypes.CDLL(library)
    except OSError:
        return None
    try:
        _call(lib, "nvmlInit_v2")
    except (_Failed, AttributeError):
        return None
    try:
        return Driver(_text(lib, "nvmlSystemGetDriverVersion"), _cuda_version(lib), _gpus(lib, visible))
    except (_Failed, AttributeError):
        return None
    finally:
        lib.nvmlShutdown()


def _gpus(lib: ctypes.CDLL, visible: str | None) -> tuple[Gpu, ...]:
    count = ctypes.c_uint()
    _call(lib, "nvmlDeviceGetCount_v2", ctypes.byref(count))
    names = [str(i) for i in range(count.value)] if visible is None else visible.split(",")
    found = []
    for name in names:
        handle = _handle(lib, name.strip(), count.value)
        if handle is None:
            break
        found.append(_gpu(lib, handle))
    return tuple(found)


def _handle(lib: ctypes.CDLL, name: str, count: int) -> ctypes.c_void_p | None:
    """The GPU that one entry of the variable names."""
    handle = ctypes.c_void_p()
    try:
        if name.isdecimal():
            if int(name) >= count:
                return None
            _call(lib, "nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(int(name)), ctypes.byref(handle))
            return handle
        if name.startswith("MIG-"):
            _call(lib, "nvmlDeviceGetHandleByUUID", name.encode(), ctypes.byref(handle))
            return handle
        for index in range(count if name.startswith("GPU-") else 0):  # CUDA takes the beginning of an id, too
            _call(lib, "nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
            if _text(lib, "nvmlDeviceGetUUID", handle).startswith(name):
                return handle
    except _Failed:
        pass
    return None


def _gpu(lib: ctypes.CDLL, handle: ctypes.c_void_p) -> Gpu:
    memory, major, minor = _Memory(), ctypes.c_int(), ctypes.c_int()
    _call(lib, "nvmlDeviceGetMemoryInfo", handle, ctypes.byref(memory))
    whole = ctypes.c_void_p()
    try:  # a slice cannot do other things than the GPU it was cut from
        _call(lib, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", handle, ctypes.byref(whole))
    except (_Failed, AttributeError):
        whole = handle
    _call(lib, "nvmlDeviceGetCudaComputeCapability", whole, ctypes.byref(major), ctypes.byref(minor))
    name = _text(lib, "nvmlDeviceGetName", handle)
    return Gpu(name, int(memory.total), int(memory.free), (major.value, minor.value))


def _cuda_version(lib: ctypes.CDLL) -> tuple[int, int]:
    version = ctypes.c_int()
    _call(lib, "nvmlSystemGetCudaDriverVersion_v2", ctypes.byref(version))
    return version.value // 1000, version.value % 1000 // 10


def _text(lib: ctypes.CDLL, function: str, *first: ctypes.c_void_p) -> str:
    buffer = ctypes.create_string_buffer(TEXT_BYTES)
    _call(lib, function, *first, buffer, ctypes.c_uint(TEXT_BYTES))
    return buffer.value.decode(errors="replace")


def _call(lib: ctypes.CDLL, function: str, *arguments: object) -> None:
    if getattr(lib, function)(*arguments) != 0:
        raise _Failed(function)
