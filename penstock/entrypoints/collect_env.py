"""`penstock collect-env`: what this machine and this installation are, for a bug report.

Reads files and package metadata; asks nothing over the network and prints no secret: of the environment only names that
are known to be harmless.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

from penstock import __version__, envs

LIBRARIES = (  # noqa: SIM905
    "torch triton numpy tokenizers safetensors transformers huggingface-hub jinja2 msgspec pyzmq fastapi starlette "
    "pydantic uvicorn httptools uvloop prometheus-client httpx openai"
).split()
# Names whose values say something about a run and hold no secret.
SAFE_VARIABLES = (  # noqa: SIM905
    "CUDA_VISIBLE_DEVICES CUDA_HOME LD_LIBRARY_PATH LD_PRELOAD OMP_NUM_THREADS OMP_PROC_BIND MKL_NUM_THREADS "
    "KMP_AFFINITY GOMP_CPU_AFFINITY MALLOC_ARENA_MAX PYTHONPATH PYTHONHASHSEED PYTORCH_CUDA_ALLOC_CONF HF_HUB_OFFLINE "
    "HF_HOME TOKENIZERS_PARALLELISM LANG LC_ALL"
).split()


def command(argv: list[str]) -> int:
    """`penstock collect-env`."""
    argparse.ArgumentParser(
        prog="penstock collect-env", description="Describe this machine and installation for a bug report."
    ).parse_args(argv)
    print("Collecting environment information...", flush=True)
    for title, collect in SECTIONS.items():
        print("=" * 30, f"{title:^30}", "=" * 30, sep="\n")
        for name, value in collect():
            print(f"{name:<28} : {value}")
        print()
    return 0


Lines = list[tuple[str, object]]


def _system() -> Lines:
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    return [
        ("OS", release.get("PRETTY_NAME", platform.platform())),
        ("Kernel", platform.release()),
        ("Architecture", platform.machine()),
        ("Libc version", "-".join(platform.libc_ver())),
        ("Container", "yes" if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists() else "not seen"),
    ]


def _torch() -> Lines:
    try:
        import torch  # only this section needs it
    except ImportError as e:
        return [("PyTorch", f"cannot be imported: {e}")]
    return [
        ("PyTorch version", torch.__version__),
        ("Built with CUDA", torch.version.cuda),
        ("Built with ROCm", getattr(torch.version, "hip", None)),
        ("CPU capability", torch.backends.cpu.get_cpu_capability()),
        ("Threads", torch.get_num_threads()),
        ("MKL, oneDNN", f"{torch.backends.mkl.is_available()}, {torch.backends.mkldnn.is_available()}"),
    ]


def _python() -> Lines:
    return [
        ("Python version", sys.version.replace("\n", " ")),
        ("Python platform", sysconfig.get_platform()),
        ("Executable", sys.executable),
        ("Virtual environment", sys.prefix != sys.base_prefix),
    ]


def _gpu() -> Lines:
    from penstock.platforms.cuda import CudaPlatform

    platform = CudaPlatform()
    refusal = platform.refusal()
    return [*platform.describe(), ("Usable", "yes" if refusal is None else f"no: {refusal}")]


def _cpu() -> Lines:
    from penstock import platforms

    facts = platforms.current("cpu").facts()
    info = _cpu_info()
    flags = [f for f in info.get("flags", "").split() if f.startswith(("avx", "amx", "sse4", "fma", "f16c"))]
    return [
        ("Model", info.get("model name", platform.processor() or "unknown")),
        ("Logical CPUs allowed", len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        ("Physical cores allowed", facts.physical_cores),
        ("Instructions", " ".join(flags) or "unknown"),
        ("Memory allowed", f"{facts.memory_total >> 20} MiB, {facts.memory_free >> 20} MiB free"),
    ]


def _cpu_info() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty where there is none."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text().split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def _libraries() -> Lines:
    lines: Lines = []
    for name in LIBRARIES:
        try:
            lines.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            lines.append((name, "not installed"))
    return lines


def _penstock() -> Lines:
    return [("Penstock version", __version__), ("Installed at", Path(__file__).parent.parent)]


def _environment() -> Lines:
    return [(name, value) for name, value in envs.snapshot(SAFE_VARIABLES).items()]


SECTIONS: dict[str, Callable[[], Lines]] = {
    "System Info": _system,
    "PyTorch Info": _torch,
    "Python Environment": _python,
    "CUDA / GPU Info": _gpu,
    "CPU Info": _cpu,
    "Versions of relevant libraries": _libraries,
    "Penstock Info": _penstock,
    "Environment Variables": _environment,
}
