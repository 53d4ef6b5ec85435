"""constraints.txt pins what is installed: every dependency, and what those depend on."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from servers import ROOT

PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(
        r"^([A-Za-z0-9_.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M
    )
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [
    Requirement(text)
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for text in group
]


FOR_GPUS = ("nvidia-", "cuda-", "triton")  # not installed here; builds of torch for GPUs pin their own exactly


def closure() -> set[str]:
    """Names of all that the requirements need on this machine, but what only GPUs need."""
    names: set[str] = set()
    todo = [r for r in REQUIREMENTS if r.marker is None or r.marker.evaluate()]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in names or name.startswith(FOR_GPUS):
            continue
        names.add(name)
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras):
                todo.append(needed)
    return names


def test_everything_is_pinned() -> None:
    assert closure() - set(PINS) == set()


def test_pins_fit_the_ranges() -> None:
    for requirement in REQUIREMENTS:
        assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)]), str(requirement)
    assert PINS["torch"] == "2.13.0"
