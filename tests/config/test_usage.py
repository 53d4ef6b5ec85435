"""Nothing is silently ignored: whatever can be set is read by somebody outside of the configuration."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

import penstock
from penstock import envs
from penstock.config import engine_config
from penstock.config.options import options_of
from penstock.config.sections import ServerArgs

ROOT = Path(penstock.__file__).parent
SOURCE = "\n".join(p.read_text() for p in ROOT.rglob("*.py") if p.parent.name != "config")
CONFIG_SOURCE = "\n".join(p.read_text() for p in (ROOT / "config").glob("*.py"))

DECIDED = [
    (struct, field.name)
    for struct in ("ModelConfig", "CacheConfig", "SchedulerConfig", "DeviceConfig", "EngineConfig")
    for field in msgspec.structs.fields(getattr(engine_config, struct))
]


@pytest.mark.parametrize("name", [*(o.name for o in options_of(ServerArgs)), "disable_log_stats"])
def test_server_option_is_read(name: str) -> None:
    assert re.search(rf"args\.{name}\b", SOURCE)


@pytest.mark.parametrize(("struct", "name"), DECIDED)
def test_decided_value_is_read(struct: str, name: str) -> None:
    assert re.search(rf"\.{name}\b", SOURCE)


@pytest.mark.parametrize("name", envs.VARIABLES)
def test_variable_is_read(name: str) -> None:
    assert re.search(rf"envs\.{name}\b", SOURCE + CONFIG_SOURCE)
