"""constraints.txt pins what is installed: every dependency, and what those depend on."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from servers import ROOT


def pins(path: str) -> dict[str, str]:
    """Name -> version."""
    found = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)$", (ROOT / path).read_text(encoding="utf-8"), re.M)
    return {canonicalize_name(name): version for name, version in found}


PINS = pins("constraints.txt")
TOML = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = TOML["project"]
EXTRAS = PROJECT["optional-dependencies"]
NOT_INSTALLED = {"flashinfer"}  # for machines with a GPU
REQUIREMENTS = [
    Requirement(text)
    for group in (PROJECT["dependencies"], *(EXTRAS[name] for name in EXTRAS if name not in NOT_INSTALLED))
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


def test_the_clients_of_other_projects_are_pinned() -> None:
    pinned = pins("tests/clients/constraints.txt")
    for text in TOML["dependency-groups"]["clients"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), text
    assert not pinned.keys() & {"torch", "openai", "transformers"}  # those are the ones that Penstock is tested with
