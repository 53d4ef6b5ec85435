"""Where a model's files come from, without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from penstock.config import hub
from penstock.errors import StartError

ROOT = Path(__file__).resolve().parents[2]


def test_bundled_model() -> None:
    assert (
        hub.local_model_dir(None)
        == str(hub.BUNDLED_PATH)
        == hub.local_model_dir("penstock-tiny")
        == hub.local_model_dir("")
    )


def test_local_folder(tmp_path: Path) -> None:
    assert hub.local_model_dir(str(tmp_path)) == str(tmp_path)


def test_what_cannot_be_a_hub_id(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.touch()
    with pytest.raises(StartError, match=r"must be a folder or a hub id, but '.*model\.gguf' is a file\."):
        hub.local_model_dir(str(file))
    for name in ("./nowhere", "/no/such/folder", "a/b/c", "a b"):
        with pytest.raises(StartError, match="There is no folder"):
            hub.local_model_dir(name)


@pytest.mark.parametrize("offline", [True, False])
def test_no_network_is_one_sentence(offline: bool, tmp_path: Path) -> None:
    """In a process of its own: the hub client reads its variables when it is imported."""
    code = (
        "from penstock.config import hub\n"
        f"try: hub.local_model_dir('penstock-tests/absent', download_dir={str(tmp_path)!r})\n"
        "except ValueError as e: print(e)"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": str(int(offline)), "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == (
        "There is no folder 'penstock-tests/absent', it is not among the downloads here, and the Hugging Face hub "
        "cannot be reached; a local folder with the model's files works without network.\n"
    )
    assert done.stderr == ""


@dataclass
class Sibling:
    rfilename: str


class Hub:
    """The two functions of huggingface_hub that are used, over a list of file names."""

    def __init__(self, files: list[str], info_fails: Exception | None = None, download_fails: Exception | None = None):
        self.siblings = [Sibling(f) for f in files]
        self._info_fails, self._download_fails = info_fails, download_fails
        self.asked: dict[str, Any] = {}

    def model_info(self, repo: str, **_: Any) -> Hub:
        if self._info_fails:
            raise self._info_fails
        return self

    def snapshot_download(self, repo: str, **options: Any) -> str:
        if self._download_fails:
            raise self._download_fails
        self.asked = options
        return "/snapshot"


def _install(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: fake)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake.snapshot_download)


@pytest.mark.parametrize(
    ("files", "load_format", "weights", "patterns"),
    [
        (["a.safetensors", "a.bin"], "auto", True, {"*.safetensors"}),
        (["a.bin"], "auto", True, {"*.bin", "*.pt", "*.pth"}),
        (["a.safetensors", "a.bin"], "pt", True, {"*.bin", "*.pt", "*.pth"}),
        (["a.bin"], "safetensors", True, {"*.safetensors"}),
        (["a.safetensors"], "dummy", True, set()),
        (["a.safetensors"], "auto", False, set()),
    ],
)
def test_what_is_downloaded(
    files: list[str], load_format: str, weights: bool, patterns: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Hub(files)
    _install(fake, monkeypatch)
    path = hub.local_model_dir(
        "org/name", revision="r", download_dir="d", ignore_patterns=("x*",), load_format=load_format, weights=weights
    )
    assert path == "/snapshot"
    assert set(fake.asked["allow_patterns"]) == {"*.json", "*.txt", "*.model", "*.jinja", "tokenizer*"} | patterns
    assert (fake.asked["revision"], fake.asked["cache_dir"], fake.asked["ignore_patterns"]) == ("r", "d", ["x*"])
    assert not fake.asked["local_files_only"]


def test_an_earlier_download_serves_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Hub([], info_fails=ConnectionError())
    _install(fake, monkeypatch)
    assert hub.local_model_dir("org/name") == "/snapshot"
    assert fake.asked["local_files_only"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (errors.RepositoryNotFoundError, "There is no folder 'org/name', and no model of that name on the hub"),
        (errors.RevisionNotFoundError, "org/name has no revision 'r' on the hub."),
        (errors.GatedRepoError, "org/name asks for its terms to be accepted at its hub page"),
    ],
)
def test_answers_of_the_hub(error: type[Exception], sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(Hub([], info_fails=error.__new__(error)), monkeypatch)
    with pytest.raises(StartError) as e:
        hub.local_model_dir("org/name", revision="r")
    assert str(e.value).startswith(sentence)


def test_broken_download(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(Hub([], download_fails=OSError("disk full")), monkeypatch)
    with pytest.raises(StartError, match=r"The download of org/name failed \(OSError: disk full\); the next start"):
        hub.local_model_dir("org/name")
