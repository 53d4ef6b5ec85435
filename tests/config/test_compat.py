"""Flags of vLLM: each is an option or a row; its default asks for nothing; the rest is refused in one sentence."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from penstock.config import compat
from penstock.config.cli import make_arg_parser, parse_serve
from penstock.config.options import options_of
from penstock.config.sections import EngineArgs, ServerArgs
from penstock.errors import StartError

# The flags that documents of vLLM 0.7 and 0.8 describe: [flag, other spellings, type, default].
SEED_FLAGS: list[tuple[str, list[str], str, Any]] = json.loads((Path(__file__).parent / "seed_flags.json").read_text())
# Names that vLLM 0.32 has beyond those.
LATER_FLAGS = (Path(__file__).parent / "later_flags.txt").read_text().split()
SPELLINGS = set(make_arg_parser()._by_flag)
FIELDS = {o.name for c in (EngineArgs, ServerArgs) for o in options_of(c)}


def name_of(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def test_there_are_148_flags() -> None:
    assert len(SEED_FLAGS) == len({f[0] for f in SEED_FLAGS}) == 148


@pytest.mark.parametrize("flag", SEED_FLAGS, ids=lambda f: f[0])
def test_flag_is_an_option_or_a_row(flag: tuple[str, list[str], str, Any]) -> None:
    name = name_of(flag[0])
    assert (name in FIELDS) != (name in compat.TABLE)
    for other in flag[1]:
        assert other in SPELLINGS or other.startswith("--no-")


def test_later_flags_are_options_or_rows() -> None:
    assert len(LATER_FLAGS) > 200
    assert [f for f in LATER_FLAGS if name_of(f) not in FIELDS | set(compat.TABLE)] == []


@pytest.mark.parametrize("flag", SEED_FLAGS, ids=lambda f: f[0])
def test_default_of_vllm_is_accepted(flag: tuple[str, list[str], str, Any]) -> None:
    spelling, _, kind, default = flag
    if default is None:
        return
    if kind == "bool":
        words = [spelling if default else "--no-" + spelling[2:]]
    elif kind.startswith("list"):
        words = [spelling, *map(str, default)] if default else []
    else:
        words = [f"{spelling}={json.dumps(default) if kind == 'json' else default}"]
    parse_serve(words)


@pytest.mark.parametrize("row", compat.TABLE.values(), ids=lambda r: r.name)
def test_a_row_does_what_it_says(
    row: compat.Row, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    strange = {"bool": True, "int": 987, "float": 0.987, "human": 987, "json": {"strange": 1}, "strs": ["strange"]}
    value = strange.get(row.kind, "strange")
    if row.kind == "bool" and value in row.fine:
        value = False
    values: dict[str, Any] = {}
    caplog.set_level(logging.WARNING, logger="penstock")
    monkeypatch.setattr(logging.getLogger("penstock"), "propagate", True)  # another test may have set up logging
    for fine in row.fine:
        compat.apply(row.name, fine, values)
    assert not caplog.records
    if row.verdict == "refused" and value not in row.fine:
        with pytest.raises(StartError, match="is not built into this version: ") as e:
            compat.apply(row.name, value, values)
        assert str(e.value).startswith("--")
        assert str(e.value).endswith(row.why + ".")
    else:
        compat.apply(row.name, value, values)
    assert bool(values) == (row.verdict == "mapped")
    said = {id(record) for record in caplog.records}  # pytest listens twice to a logger that did not pass its lines up
    assert len(said) == (row.verdict == "accepted")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--enable-lora"], "--enable-lora is not built into this version: it serves no LoRA adapters."),
        (["-tp", "2"], "--tensor-parallel-size 2 is not built into this version: it runs on one device."),
        (
            ["--multi-step-stream-outputs", "false"],
            "--no-multi-step-stream-outputs is not built into this version: "
            "it plans each step by itself and sends the tokens of each.",
        ),
        (["--performance-mode", "throughput"], "--performance-mode throughput is not built into this version: "),
        (["--speculative-config.method", "ngram"], "--speculative-config {'method': 'ngram'} is not built"),
        (["--swap-space", "8"], "--swap-space 8.0 is not built into this version: it preempts by computing again"),
        (["--tool-server", "demo"], "--tool-server demo is not built into this version"),
    ],
)
def test_refusals(words: list[str], sentence: str) -> None:
    with pytest.raises(StartError) as e:
        parse_serve(words)
    assert str(e.value).startswith(sentence)


def test_keywords_as_scripts_for_vllm_have_them() -> None:
    args = compat.engine_args(
        model="m",
        tensor_parallel_size=1,
        gpu_memory_utilization=0.8,
        trust_remote_code=True,
        enforce_eager=True,
        swap_space=4,
        quantization=None,
        rope_theta=10.0,
        dtype="torch.float16",
        override_pooler_config={"normalize": True},
        disable_log_requests=True,
    )
    assert args == EngineArgs(
        model="m",
        gpu_memory_utilization=0.8,
        enforce_eager=True,
        hf_overrides={"rope_theta": 10.0},
        dtype="float16",
        pooler_config={"normalize": True},
    )


def test_unknown_keyword_names_near_ones() -> None:
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'max_model_length'; near: max_model_len"):
        compat.engine_args(max_model_length=3)


def test_refused_keyword() -> None:
    with pytest.raises(StartError, match=r"--quantization-config \{'x': 1\} is not built into this version"):
        compat.engine_args(quantization_config={"x": 1})
    with pytest.raises(
        StartError, match="--quantization must be one of none, int8, int4, fp8, compressed-tensors, not 'awq'"
    ):
        compat.engine_args(quantization="awq")
