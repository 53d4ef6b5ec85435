"""Packages for a machine that can fetch none: `wheels.py pack FOLDER` downloads them, `wheels.py install FOLDER TARGET`
unpacks those that the machine does not have.

Torch, Triton and what else is large are expected to be there. Versions are those of constraints.txt.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON, MACHINE = "3.12", "x86_64"
LARGE = {"torch", "numpy", "sympy", "mpmath", "networkx", "setuptools", "hf-xet"}
GLIBCS = (5, 12, 17, 24, 26, 27, 28, 31, 34)  # pip takes a wheel's platform by its exact name


def needed() -> list[str]:
    """What running takes, with versions: the first part of constraints.txt."""
    text = (ROOT / "constraints.txt").read_text().split("# only the optional")[0]
    lines = [line.split(";")[0].strip() for line in text.splitlines()]
    return [line for line in lines if line and line[0] != "#" and line.partition("==")[0] not in LARGE]


def pack(folder: Path) -> None:
    """Download them all; each is one wheel."""
    platforms = [f"manylinux_2_{n}_{MACHINE}" for n in GLIBCS] + [f"manylinux2014_{MACHINE}", f"manylinux1_{MACHINE}"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", PYTHON, "--implementation", "cp", "--dest", str(folder)]
    for name in platforms:
        command += ["--platform", name]
    subprocess.run([*command, *needed()], check=True)


def install(folder: Path, target: Path) -> list[str]:
    """Unpack those wheels whose package is not installed; their names."""
    wheels = [wheel for wheel in sorted(folder.glob("*.whl")) if not _is_installed(wheel.name.partition("-")[0])]
    if wheels:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
        subprocess.run([*command, "--no-cache-dir", "--target", str(target), *map(str, wheels)], check=True)
    return [wheel.name for wheel in wheels]


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    verb, folder = sys.argv[1], Path(sys.argv[2])
    if verb == "pack":
        pack(folder)
    else:
        print("unpacked:", " ".join(install(folder, Path(sys.argv[3]))) or "nothing")
