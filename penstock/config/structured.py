"""What the options of structured outputs say: --guided-decoding-backend, and --structured-outputs-config over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.config.engine_config import StructuredConfig
from penstock.errors import StartError

# Names that vLLM has had, and what compiles here: llguidance does all that those did which are not part of Penstock.
BACKENDS = {
    "auto": "llguidance",
    "guidance": "llguidance",
    "llguidance": "llguidance",
    "xgrammar": "xgrammar",
    "outlines": "llguidance",
    "lm-format-enforcer": "llguidance",
}
OPTIONS = ("no-fallback", "disable-any-whitespace", "no-additional-properties")
MEMBERS: dict[str, type] = {"backend": str, "disable_any_whitespace": bool, "disable_additional_properties": bool}


def structured_config(backend: str, members: Mapping[str, Any] | None) -> StructuredConfig:
    """
    Args:
        backend: "NAME" or "NAME:OPTION,OPTION".
        members: of the newer option.

    Raises:
        StartError: a name is unknown, or a value has the wrong type.
    """
    given = members or {}
    for name, value in given.items():
        if name not in MEMBERS:
            raise StartError(f"--structured-outputs-config has no member {name!r}; it has {', '.join(MEMBERS)}.")
        if type(value) is not MEMBERS[name]:
            raise StartError(f"--structured-outputs-config: {name} must be of type {MEMBERS[name].__name__}.")
    name, _, rest = given.get("backend", backend).partition(":")
    options = [o.strip() for o in rest.split(",") if o.strip()]
    unknown = [o for o in options if o not in OPTIONS]
    if unknown:
        raise StartError(f"--guided-decoding-backend has no option {unknown[0]!r}; it has {', '.join(OPTIONS)}.")
    if name not in BACKENDS:
        raise StartError(f"--guided-decoding-backend: there is no {name!r}; there are {', '.join(BACKENDS)}.")
    return StructuredConfig(
        backend=BACKENDS[name],
        no_fallback="no-fallback" in options,
        disable_any_whitespace=given.get("disable_any_whitespace", "disable-any-whitespace" in options),
        disable_additional_properties=given.get("disable_additional_properties", "no-additional-properties" in options),
    )
