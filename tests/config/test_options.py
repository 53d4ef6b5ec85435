"""Declarations of options: one each, typed, checked wherever the value comes from."""

from __future__ import annotations

import pytest

from penstock.config import compat
from penstock.config.options import options_of, parse_human
from penstock.config.sections import EngineArgs, ServerArgs
from penstock.errors import StartError

ALL = [*options_of(EngineArgs), *options_of(ServerArgs)]


def test_every_option_is_declared_once_and_says_what_it_does() -> None:
    flags = [f for o in ALL for f in (o.flag, *o.flags)]
    assert len(flags) == len(set(flags))
    assert not {o.name for o in ALL} & set(compat.TABLE), "an option also has a row"
    for o in ALL:
        assert o.help.endswith("."), o.name
        assert o.default is not None or o.optional, o.name


def test_defaults_pass_their_own_check() -> None:
    assert EngineArgs() == EngineArgs()
    assert ServerArgs() == ServerArgs()


def test_mutable_defaults_are_not_shared() -> None:
    first = ServerArgs()
    first.middleware.append("x")
    assert ServerArgs().middleware == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4096", 4096),
        ("-1", -1),
        ("1k", 1000),
        ("25.6k", 25600),
        ("0.5m", 500_000),
        ("1.25g", 1_250_000_000),
        ("1t", 10**12),
        ("1K", 1024),
        ("2M", 2 << 20),
        ("4G", 4 << 30),
        ("1T", 1 << 40),
    ],
)
def test_human_integers(text: str, value: int) -> None:
    assert parse_human(text) == value


@pytest.mark.parametrize("text", ["25.6K", "1.5", "x", "", "1kk", "1.2345k", "k", "1e3"])
def test_what_is_no_human_integer(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|can have"):
        parse_human(text)


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"dtype": "int4"}, "--dtype must be one of auto, half, float16, bfloat16, float, float32, not 'int4'."),
        ({"seed": "x"}, "--seed must be an integer, not 'x'."),
        ({"max_num_seqs": True}, "--max-num-seqs must be an integer, not True."),
        ({"max_num_seqs": 2.5}, "--max-num-seqs must be an integer, not 2.5."),
        ({"model": 3}, "--model must be text, not 3."),
        ({"hf_overrides": "{"}, "--hf-overrides must be JSON, not '{'"),
        ({"gpu_memory_utilization": None}, "--gpu-memory-utilization must be a number, not None."),
        ({"scheduling_policy": "lifo"}, "--scheduling-policy must be one of fcfs, priority, not 'lifo'."),
    ],
)
def test_wrong_values_as_keywords(keywords: dict[str, object], sentence: str) -> None:
    with pytest.raises(StartError) as e:
        EngineArgs(**keywords)  # type: ignore[arg-type]
    assert str(e.value).startswith(sentence)


def test_texts_are_converted() -> None:
    args = EngineArgs(max_model_len="25.6k", hf_overrides='{"a": 1}', enable_prefix_caching="false", seed=None)  # type: ignore[arg-type]
    assert (args.max_model_len, args.hf_overrides, args.enable_prefix_caching) == (25600, {"a": 1}, False)
    assert EngineArgs(max_model_len="auto").max_model_len == "auto"
