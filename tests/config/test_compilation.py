"""What --compilation-config and its relatives make of a machine with a GPU, and of one without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.config.cli import parse_serve
from penstock.config.compilation import StepLimits, compilation_config
from penstock.config.engine_config import CompilationConfig
from penstock.config.resolve import resolve
from penstock.config.sections import EngineArgs
from penstock.errors import StartError

SIZES = (1, 2, 4, *range(8, 256, 8), *range(256, 513, 16))  # vLLM's


def on_gpu(words: list[str], seqs: int = 256, tokens: int = 8192, length: int = 4096) -> CompilationConfig:
    args, _ = parse_serve(words)
    return compilation_config(
        args.compilation_config,
        StepLimits(seqs, tokens, length),
        enforce_eager=args.enforce_eager,
        max_seq_len_to_capture=args.max_seq_len_to_capture,
        on_gpu=True,
    )


@pytest.mark.parametrize(
    ("words", "decode", "mixed", "compiled"),
    [
        ([], True, True, False),
        (["-O0"], False, False, False),
        (["-O1"], False, True, False),
        (["-O", "2"], True, True, False),
        (["-O=3"], True, True, True),
        (["--optimization-level", "1"], False, True, False),
        (["-cc", "{}"], True, True, False),
        (["-cc", '{"mode": 3}'], True, True, True),
        (["--optimization-level", "3", "-cc.mode", "0"], True, True, False),
        (["-cc.level", "1", "--compilation-config.mode", "VLLM_COMPILE"], False, True, True),
        (["-cc", '{"level": 0, "mode": 1}'], False, False, True),
        (["-cc", '{"cudagraph_mode": "PIECEWISE"}'], False, True, False),
        (["--compilation-config.cudagraph_mode", "FULL_DECODE_ONLY"], True, False, False),
        (["-cc", '{"level": 3, "cudagraph_mode": "none"}'], False, False, True),
        (["-cc", '{"use_cudagraph": false}'], False, False, False),
        (["-cc", '{"level": 1, "full_cuda_graph": true}'], True, True, False),
        (["-O3", "--enforce-eager"], False, False, False),
    ],
)
def test_what_is_recorded(words: list[str], decode: bool, mixed: bool, compiled: bool) -> None:
    config = on_gpu(words)
    assert config.mixed_sizes == (SIZES if mixed else ())
    assert config.decode_sizes == (tuple(s for s in SIZES if s <= 256) if decode else ())
    assert config.compiled is compiled


@pytest.mark.parametrize(
    ("words", "limits", "decode", "mixed"),
    [
        ([], {"seqs": 5}, (1, 2, 4, 8), SIZES),
        ([], {"seqs": 1024}, SIZES, SIZES),
        ([], {"seqs": 2, "tokens": 20}, (1, 2), (1, 2, 4, 8, 16, 20)),
        (["-cc", '{"cudagraph_capture_sizes": [600, 3, 3, 40]}'], {"seqs": 16}, (3, 40), (3, 40, 600)),
        (["--cudagraph-capture-sizes", "3", "40"], {"seqs": 16}, (3, 40), (3, 40)),
        (["--max-cudagraph-capture-size", "4"], {}, (1, 2, 4), (1, 2, 4)),
        (["-O", '{"max_capture_size": 16}'], {}, (1, 2, 4, 8, 16), (1, 2, 4, 8, 16)),
    ],
)
def test_sizes(words: list[str], limits: dict[str, int], decode: tuple[int, ...], mixed: tuple[int, ...]) -> None:
    config = on_gpu(words, **limits)
    assert config.decode_sizes == decode
    assert config.mixed_sizes == tuple(sorted({min(size, limits.get("tokens", 8192)) for size in mixed}))


def test_longest_context() -> None:
    assert on_gpu([]).max_context == 4096
    assert on_gpu(["--max-seq-len-to-capture", "1000"]).max_context == 1000
    assert on_gpu(["--max-seq-len-to-capture", "8192"]).max_context == 4096


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["-cc", '{"splitting_ops": []}'],
            "--compilation-config has no member 'splitting_ops' in this version; it has",
        ),
        (["-O3", "-cc.mode", "0"], "--compilation-config is given as 3 and by members; write all of it as one JSON"),
        (["-O4"], "--compilation-config must be a JSON object or 0 or 1 or 2 or 3, not 4."),
        (["-cc", '{"level": 9}'], "--compilation-config: level must be 0, 1, 2 or 3, not 9."),
        (["-cc", '{"mode": "fast"}'], "--compilation-config: mode must be 0, 1, 2, 3 or one of none, "),
        (
            ["-cc", '{"cudagraph_mode": "some"}'],
            "--compilation-config: cudagraph_mode must be one of none, piecewise, ",
        ),
        (
            ["-cc", '{"cudagraph_capture_sizes": [0]}'],
            "--compilation-config: cudagraph_capture_sizes must be at least 1",
        ),
        (["-cc", '{"cudagraph_capture_sizes": 8}'], "--compilation-config: cudagraph_capture_sizes must be a list of"),
        (["-cc", '{"use_cudagraph": 1}'], "--compilation-config: use_cudagraph must be true or false, not 1."),
        (["--max-cudagraph-capture-size", "0"], "--compilation-config: max_cudagraph_capture_size must be at least 1"),
        (["--max-seq-len-to-capture", "0"], "--max-seq-len-to-capture must be at least 1, not 0."),
    ],
)
def test_what_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(StartError) as e:
        on_gpu(words)
    assert str(e.value).startswith(message)


def on_cpu(bundled_model: Path, **given: Any) -> CompilationConfig:
    given = {"max_model_len": 512, "max_num_seqs": 256, **given}
    return resolve(EngineArgs(model=str(bundled_model), device="cpu", **given), usage="server").compilation


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        ({}, range(1, 17)),
        ({"compilation_config": 3}, range(1, 17)),
        ({"compilation_config": {"cudagraph_mode": "FULL", "mode": 3}}, range(1, 17)),
        ({"compilation_config": {"cudagraph_capture_sizes": [3, 40]}}, (3, 40)),
        ({"compilation_config": {"max_cudagraph_capture_size": 2}}, (1, 2)),
        ({"compilation_config": {"max_capture_size": 20}}, range(1, 21)),
        ({"max_num_seqs": 3}, range(1, 4)),
        ({"compilation_config": 1}, ()),
        ({"compilation_config": 0}, ()),
        ({"enforce_eager": True}, ()),
    ],
)
def test_a_cpu_records_decode_steps_alone(given: dict[str, Any], sizes: Any, bundled_model: Path) -> None:
    config = on_cpu(bundled_model, **given)
    assert config.decode_sizes == tuple(sizes)
    assert not config.mixed_sizes
    assert not config.compiled
    assert config.max_context == (512 if sizes or not given.get("enforce_eager") else 0)


def test_members_are_checked_on_a_cpu_too(bundled_model: Path) -> None:
    with pytest.raises(StartError, match="no member 'nonsense'"):
        on_cpu(bundled_model, compilation_config={"nonsense": 1})
