"""Environment variables: typed, with vLLM's spelling beside ours."""

from __future__ import annotations

from pathlib import Path

import pytest

import penstock
from penstock import envs
from penstock.errors import StartError


def test_there_are_few_and_they_have_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = [v for v in envs.VARIABLES.values() if v.spellings[0].startswith("PENSTOCK_")]
    assert len(ours) <= 30
    for name, variable in envs.VARIABLES.items():
        for spelling in variable.spellings:
            monkeypatch.delenv(spelling, raising=False)
        assert getattr(envs, name) == variable.default


def test_our_name_wins_over_the_alias(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "4")
    assert envs.CPU_KVCACHE_SPACE == 4.0
    monkeypatch.setenv("PENSTOCK_CPU_KVCACHE_SPACE", "0.5")
    assert envs.CPU_KVCACHE_SPACE == 0.5
    monkeypatch.setenv("PENSTOCK_CPU_KVCACHE_SPACE", "")
    assert envs.CPU_KVCACHE_SPACE == 4.0


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("VLLM_SERVER_DEV_MODE", "maybe", "VLLM_SERVER_DEV_MODE must be 0 or 1, not 'maybe'."),
        ("PENSTOCK_LOG_STATS_INTERVAL", "-1", "PENSTOCK_LOG_STATS_INTERVAL must be a number of seconds, not '-1'."),
        ("PENSTOCK_LOGGING_LEVEL", "loud", "PENSTOCK_LOGGING_LEVEL must be a level such as info, not 'loud'."),
        ("VLLM_CPU_KVCACHE_SPACE", "big", "VLLM_CPU_KVCACHE_SPACE must be a number, not 'big'."),
    ],
)
def test_bad_values(name: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StartError) as e:
        getattr(envs, name.partition("_")[2])
    assert str(e.value) == sentence


def test_unknown_names_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_LOGING_LEVEL", "debug")
    assert envs.unknown() == ["PENSTOCK_LOGING_LEVEL"]
    with pytest.raises(AttributeError):
        _ = envs.LOGING_LEVEL


def test_snapshot_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_API_KEY", "sk-very-secret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other-secret")
    monkeypatch.setenv("SOME_TOKEN", "third-secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    shown = envs.snapshot(["OMP_NUM_THREADS"])
    assert shown["OMP_NUM_THREADS"] == "2"
    assert shown["PENSTOCK_API_KEY"] == "(set, not shown)"
    assert "secret" not in str(shown).replace("(set, not shown)", "")


def test_nobody_else_reads_the_environment() -> None:
    root = Path(penstock.__file__).parent
    readers = [p.name for p in root.rglob("*.py") if "os.environ" in p.read_text() or "getenv" in p.read_text()]
    assert readers == ["envs.py"]
