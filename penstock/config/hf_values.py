"""Typed reads of a Hugging Face configuration file; every complaint names the file and the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from penstock.errors import StartError

Json = dict[str, Any]


def token_ids(value: object, what: str) -> tuple[int, ...]:
    """The ids that a configuration gives as one, a list or null.

    Args:
        what: file and key, for the message.

    Raises:
        StartError: they are no ids.
    """
    ids = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in ids):
        raise StartError(f"{what} must be a token id or a list of them, got {value!r}.")
    return tuple(ids)


class HFConfig:
    """Typed reads of a configuration; null counts as absent."""

    def __init__(self, values: Json, path: str):
        self.values = values
        self.path = path

    def error(self, what: str) -> StartError:
        return StartError(f"{self.path}: {what}.")

    def integer(self, key: str, default: int | None = None) -> int:
        value = self._get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise self.error(f"{key} must be a positive integer, got {value!r}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        return self.as_number(key, self._get(key, default))

    def as_number(self, key: str, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.error(f"{key} must be a number, got {value!r}")
        return float(value)

    def flag(self, key: str) -> bool:
        value = self._get(key, False)
        if not isinstance(value, bool):
            raise self.error(f"{key} must be true or false, got {value!r}")
        return value

    def choice(self, key: str, known: dict[str, str], default: str) -> str:
        value = self._get(key, default)
        if not isinstance(value, str) or value not in known:
            raise self.error(f"{key} {value!r} is unknown; known: {', '.join(sorted(known))}")
        return known[value]

    def token_ids(self, key: str) -> tuple[int, ...]:
        return token_ids(self.values.get(key), f"{self.path}: {key}")

    def _get(self, key: str, default: Any) -> Any:
        value = self.values.get(key)
        if value is None and default is None:
            raise self.error(f"{key} is missing")
        return default if value is None else value


def read_json(path: Path) -> Json:
    """The JSON object in a file.

    Raises:
        StartError: there is none.
    """
    value = _read(path)
    if not isinstance(value, dict):
        raise StartError(f"{path} must hold a JSON object.")
    return value


def read_list(path: Path) -> list[Any]:
    """The JSON list in a file.

    Raises:
        StartError: there is none.
    """
    value = _read(path)
    if not isinstance(value, list):
        raise StartError(f"{path} must hold a JSON list.")
    return value


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StartError(f"there is no {path.name} in {str(path.parent)!r}.") from None
    except (OSError, ValueError) as e:
        raise StartError(f"{path} cannot be read: {e}.") from e
