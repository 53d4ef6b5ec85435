"""The one reader of os.environ. `envs.NAME` is read when it is used, typed, from PENSTOCK_NAME or vLLM's spelling.

A value that cannot be read is a StartError that names the variable. Options say what a server does; variables are for
what is not an option: secrets, limits of the machine, switches of developers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from penstock.errors import StartError

PREFIX = "PENSTOCK_"


@dataclass(frozen=True)
class Variable:
    """One variable.

    Attributes:
        parse: text -> value; raises ValueError.
        default: value if it is not set, or set to nothing.
        help: what it does.
        spellings: complete names, the first one that is set counts.
        needs: what a good value is, for the message about a bad one.
        secret: never printed.
    """

    parse: Callable[[str], Any]
    default: Any
    help: str
    spellings: tuple[str, ...]
    needs: str = "text"
    secret: bool = False


def _bool(text: str) -> bool:
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.strip().lower()]


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise ValueError(text)
    return value


def _threads(text: str) -> int:
    count = int(text.partition(",")[0])  # OpenMP takes one number for each level of nesting
    if count < 1:
        raise ValueError(text)
    return count


def _level(text: str) -> str:
    level = text.strip().lower()
    if level not in ("debug", "info", "warning", "error", "critical"):
        raise ValueError(text)
    return level


def _triton(text: str) -> str:
    value = text.strip().lower()
    if value not in ("auto", "interpret"):
        raise ValueError(text)
    return value


def _ours(
    name: str, parse: Callable[[str], Any], default: Any, help: str, vllm: str | None = "", secret: bool = False
) -> Variable:
    """A variable of our own; `vllm` is the other name it has there, "" the same name, None that it has none."""
    needs: dict[Callable[[str], Any], str]
    needs = {_bool: "0 or 1", _seconds: "a number of seconds", _level: "a level such as info", float: "a number"}
    needs |= {_triton: "auto or interpret"}
    spellings = (PREFIX + name,) if vllm is None else (PREFIX + name, "VLLM_" + (vllm or name))
    return Variable(parse, default, help, spellings, needs.get(parse, "text"), secret)


VARIABLES: dict[str, Variable] = {
    "API_KEY": _ours("API_KEY", str, None, "Key that requests must bring, if there is no --api-key.", secret=True),
    "LOGGING_LEVEL": _ours("LOGGING_LEVEL", _level, "info", "Lowest level that is logged."),
    "LOGGING_CONFIG_PATH": _ours("LOGGING_CONFIG_PATH", str, None, "As --log-config-file."),
    "LOG_STATS_INTERVAL": _ours("LOG_STATS_INTERVAL", _seconds, 10.0, "Seconds between two lines of statistics."),
    "SERVER_DEV_MODE": _ours("SERVER_DEV_MODE", _bool, False, "Serve the routes for developers, unguarded caches too."),
    "HTTP_TIMEOUT_KEEP_ALIVE": _ours("HTTP_TIMEOUT_KEEP_ALIVE", _seconds, 5.0, "Seconds an idle connection is kept."),
    "ENGINE_READY_TIMEOUT_S": _ours("ENGINE_READY_TIMEOUT_S", _seconds, 600.0, "Seconds that a model may load."),
    "STEP_TIMEOUT_S": _ours(
        "STEP_TIMEOUT_S",
        _seconds,
        300.0,
        "Seconds without progress after which an engine with work counts as stuck.",
        "EXECUTE_MODEL_TIMEOUT_SECONDS",
    ),
    "RPC_BASE_PATH": _ours("RPC_BASE_PATH", str, None, "Folder for the sockets between our processes."),
    "CPU_KVCACHE_SPACE": _ours("CPU_KVCACHE_SPACE", float, None, "Size of the KV pool on CPU in GiB."),
    "ALLOW_LONG_MAX_MODEL_LEN": _ours(
        "ALLOW_LONG_MAX_MODEL_LEN", _bool, False, "Allow --max-model-len beyond what the model was made for."
    ),
    "CPU_OMP_THREADS_BIND": _ours(
        "CPU_OMP_THREADS_BIND",
        str,
        "auto",
        "Processors that compute: auto keeps to one memory node if the threads fit in one, nobind to none; or 0-3,8.",
    ),
    "CPU_ISA": _ours(
        "CPU_ISA",
        str,
        "auto",
        "Instruction set of the CPU kernels: auto, a name such as avx2, or torch (none).",
        None,
    ),
    "BATCH_INVARIANT": _ours("BATCH_INVARIANT", _bool, False, "As --batch-invariant."),
    "ATTENTION_BACKEND": _ours("ATTENTION_BACKEND", str, "auto", "As --attention-backend, if that is auto."),
    "TRITON": _ours(
        "TRITON",
        _triton,
        "auto",
        "interpret: compute with the GPU's kernels on the CPU, in Triton's interpreter. For tests: it is very slow.",
        None,
    ),
    # Of others, read here because nobody else reads the environment.
    "OMP_NUM_THREADS": Variable(
        _threads, 0, "Threads for computing, if there is no --cpu-threads.", ("OMP_NUM_THREADS",), "a number of threads"
    ),
    "OPENAI_API_KEY": Variable(str, None, "Key that `chat` and `complete` send.", ("OPENAI_API_KEY",), secret=True),
}


def __getattr__(name: str) -> Any:
    if name not in VARIABLES:
        raise AttributeError(f"there is no variable {name!r}")
    return read(VARIABLES[name])


def read(variable: Variable) -> Any:
    """The variable's value now.

    Raises:
        StartError: it is set to something that cannot be read.
    """
    for spelling in variable.spellings:
        text = os.environ.get(spelling)
        if text:
            try:
                return variable.parse(text)
            except (ValueError, KeyError):
                raise StartError(f"{spelling} must be {variable.needs}, not {text!r}.") from None
    return variable.default


def unknown() -> list[str]:
    """Set names that begin like ours and are none: most likely typing errors."""
    known = {s for v in VARIABLES.values() for s in v.spellings}
    return sorted(n for n in os.environ if n.startswith(PREFIX) and n not in known)


def snapshot(others: Sequence[str]) -> dict[str, str]:
    """What is set, as text: our variables, secrets masked, and those of `others`."""
    secret = {s: v.secret for v in VARIABLES.values() for s in v.spellings}
    names = [n for n in (*secret, *others) if n in os.environ]
    return {n: "(set, not shown)" if secret.get(n) else os.environ[n] for n in sorted(names)}


def calm_openmp() -> None:
    """Let threads that wait for each other sleep soon, unless the user decided. Must run before torch is imported.

    GNU OpenMP spins for milliseconds by default. On a machine where something else runs too, the spinning thread
    takes the core that the awaited one needs: a decode step of a small model was seen to take 100 times as long. With
    this count an idle machine loses about a tenth.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def interpret_triton() -> None:
    """Make Triton interpret its kernels instead of compiling them. Must run before triton is imported."""
    os.environ["TRITON_INTERPRET"] = "1"


def for_child(import_folder: str) -> dict[str, str]:
    """The environment of a Python process of ours: this one's, and our package importable even if not installed."""
    rest = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": import_folder + (os.pathsep + rest if rest else "")}
