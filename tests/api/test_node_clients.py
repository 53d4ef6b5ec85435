"""The official Node clients against real servers. `scripts/node_clients` installs them, or the tests are skipped."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest
from pooling_models import make

from servers import ROOT, RunningServer, run_server

FOLDER = ROOT / "tests" / "node"
SECTIONS = {
    name: re.search(r"await run\(\{ (.*) \}\)", (FOLDER / f"{name}.mjs").read_text(encoding="utf-8"))[1].split(", ")  # type: ignore[index]
    for name in ("openai_client", "anthropic_client")
}

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (FOLDER / "node_modules" / "openai").is_dir(),
        reason="the clients are not installed: ./scripts/node_clients",
    ),
]


@pytest.fixture(scope="module")
def results(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Script -> section -> what went wrong, or None."""
    folder = tmp_path_factory.mktemp("embedder")
    make(folder, "BertModel")
    with run_server(str(folder), log=folder / "server.log") as embedder:
        return {name: run_script(name, server.url, embedder.url) for name in SECTIONS}


def run_script(name: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(["node", f"{name}.mjs", *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(("script", "section"), [(name, s) for name, sections in SECTIONS.items() for s in sections])
def test_section(results: dict[str, Any], script: str, section: str) -> None:
    assert results[script][section] is None
