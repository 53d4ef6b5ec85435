"""Log lines of all processes in one format: `(APIServer pid=N) INFO 11-20 09:40:00 [file.py:123] message`.

`setup` is called once by whoever owns the process; a library user who configured `logging` keeps his own setup.
"""

from __future__ import annotations

import json
import logging
import logging.config
import os
from pathlib import Path
from typing import Any

from penstock.errors import StartError

ROOT = "penstock"


def get_logger(name: str) -> logging.Logger:
    """The logger of a module; `name` is its `__name__`, or any name below "penstock"."""
    return logging.getLogger(name if name.startswith(ROOT) else f"{ROOT}.{name}")


def setup(level: str = "info", role: str = "") -> None:
    """Send what Penstock logs to stderr.

    Args:
        level: lowest level shown.
        role: what the process is ("APIServer", "EngineCore"); "" for a line without that part.
    """
    logging.config.dictConfig(_config(level.upper(), role))


def read_config(path: str | None) -> dict[str, Any] | None:
    """A file in the form of logging.config.dictConfig; None for no path.

    Raises:
        StartError: it cannot be read.
    """
    if path is None:
        return None
    try:
        value = json.loads(Path(path).read_text())
    except (OSError, ValueError) as e:
        raise StartError(f"--log-config-file {path} cannot be read: {e}") from None
    if not isinstance(value, dict):
        raise StartError(f"--log-config-file {path} must hold a JSON object.")
    return value


def uvicorn_config(level: str, role: str, quiet_paths: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The same format for uvicorn's loggers.

    Args:
        quiet_paths: requests for these get no access line.
    """
    config = _config(level.upper(), role, root="uvicorn")
    config["loggers"]["uvicorn.error"] = {"level": level.upper()}
    config["loggers"]["uvicorn.access"] = {"level": level.upper()}
    if quiet_paths:
        config["filters"] = {"quiet": {"()": QuietPaths, "paths": quiet_paths}}
        config["loggers"]["uvicorn.access"]["filters"] = ["quiet"]
    return config


class QuietPaths(logging.Filter):
    """Drops uvicorn's access lines for some paths; the third argument of such a record is the path with its query."""

    def __init__(self, paths: frozenset[str]):
        super().__init__()
        self._paths = paths

    def filter(self, record: logging.LogRecord) -> bool:
        args = record.args
        return not (isinstance(args, tuple) and len(args) > 2 and str(args[2]).split("?", 1)[0] in self._paths)


def _config(level: str, role: str, root: str = ROOT) -> dict[str, Any]:
    prefix = f"({role} pid={os.getpid()}) " if role else ""
    line = f"{prefix}%(levelname)s %(asctime)s [%(filename)s:%(lineno)d] %(message)s"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": line, "datefmt": "%m-%d %H:%M:%S"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {root: {"handlers": ["stderr"], "level": level, "propagate": False}},
    }
