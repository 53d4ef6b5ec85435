"""Options, model and machine become one configuration: every option's effect, derived defaults, refusals."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from penstock import platforms
from penstock.config import hub
from penstock.config.engine_config import CompilationConfig, EngineConfig
from penstock.config.options import options_of
from penstock.config.resolve import resolve
from penstock.config.sections import EngineArgs
from penstock.config.shape import Quantization
from penstock.errors import StartError
from penstock.platforms import cpu
from penstock.platforms.base import Device, Platform, PlatformFacts

GIB = 1 << 30
CONFIG = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8192,
    "sliding_window": 1024,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "torch_dtype": "float16",
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ALL_DTYPES = ("bfloat16", "float16", "float32")
BYTES_PER_TOKEN = 2 * 2 * 2 * 16 * 2  # keys and values, layers, heads, head size, float16


class Machine(Platform):
    """A machine with round figures."""

    def __init__(
        self, name: str = "cpu", memory: int = 16 * GIB, dtypes: tuple[str, ...] = ALL_DTYPES, fast_16bit: bool = True
    ):
        self.name = name
        self._facts = PlatformFacts(name, memory, memory, 8, dtypes, fast_16bit=fast_16bit)

    def facts(self) -> PlatformFacts:
        return self._facts

    def preferred_16bit(self) -> str:
        return "bfloat16"

    def device(self, index: int = 0) -> Device:
        raise AssertionError("resolving opens no device")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Resolve for a CPU with 16 GiB; tests may set another one by `use`."""
    for name in ("CPU_KVCACHE_SPACE", "ALLOW_LONG_MAX_MODEL_LEN"):
        monkeypatch.delenv("PENSTOCK_" + name, raising=False)
        monkeypatch.delenv("VLLM_" + name, raising=False)
    machine = Machine()
    use(machine, monkeypatch)
    return machine


def use(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "current", lambda name="auto": machine)


def write_model(folder: Path, generation: dict[str, Any] | None = None, **changes: Any) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    (folder / "tokenizer.json").write_text("{}")
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    return str(folder)


@pytest.fixture
def model(tmp_path: Path) -> str:
    return write_model(tmp_path / "model", {"temperature": 0.6, "top_k": 20, "eos_token_id": [2, 7], "do_sample": True})


def at(config: EngineConfig, path: str) -> Any:
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


# Every engine option: value -> where it shows and as what. `model`, folders and downloads have tests of their own.
EFFECTS: dict[str, tuple[Any, str, Any]] = {
    "served_model_name": (["a", "b"], "model.served_names", ("a", "b")),
    "skip_tokenizer_init": (True, "model.tokenizer_path", None),
    "hf_overrides": ({"vocab_size": 50}, "model.shape.vocab_size", 50),
    "dtype": ("float", "model.dtype", "float32"),
    "quantization": ("int4", "model.shape.quantization", Quantization("int4", 64)),
    "max_model_len": (100, "model.max_model_len", 100),
    "seed": (5, "model.seed", 5),
    "max_logprobs": (-1, "model.max_logprobs", 100),
    "disable_sliding_window": (True, "model.max_model_len", 1024),
    "generation_config": ("vllm", "model.generation_defaults", {}),
    "override_generation_config": (
        {"top_k": 3, "max_new_tokens": 9},
        "model.generation_defaults",
        {"temperature": 0.6, "top_k": 3, "max_tokens": 9},
    ),
    "load_format": ("dummy", "model.load_format", "dummy"),
    "use_tqdm_on_load": (False, "model.show_progress", False),
    "block_size": (16, "cache.block_size", 16),
    "attention_backend": ("FLASH_ATTN", "device.attention_backend", "FLASH_ATTN"),
    "kv_cache_dtype": ("fp8", "cache.dtype", "fp8_e4m3"),
    "enable_prefix_caching": (False, "cache.enable_prefix_caching", False),
    "prefix_caching_hash_algo": ("xxhash", "cache.prefix_hash", "xxhash"),
    "gpu_memory_utilization": (0.5, "cache.memory_utilization", 0.5),
    "kv_cache_memory_bytes": (1 << 20, "cache.memory_bytes", 1 << 20),
    "num_gpu_blocks_override": (9, "cache.num_blocks_override", 9),
    "max_num_seqs": (3, "scheduler.max_num_seqs", 3),
    "max_num_batched_tokens": (512, "scheduler.max_num_batched_tokens", 512),
    "enable_chunked_prefill": (False, "scheduler.enable_chunked_prefill", False),
    "long_prefill_token_threshold": (64, "scheduler.long_prefill_token_threshold", 64),
    "scheduling_policy": ("priority", "scheduler.policy", "priority"),
    "async_scheduling": (False, "scheduler.overlaps", False),
    "batch_invariant": (True, "device.batch_invariant", True),
    "enable_sleep_mode": (True, "device.sleep_mode", True),
    "cpu_threads": (3, "device.cpu_threads", 3),
    "guided_decoding_backend": ("xgrammar", "structured.backend", "xgrammar"),
    "structured_outputs_config": ({"disable_any_whitespace": True}, "structured.disable_any_whitespace", True),
}
TESTED_ELSEWHERE = {
    "model",
    "tokenizer",
    "revision",
    "tokenizer_revision",
    "hf_config_path",
    "download_dir",
    "ignore_patterns",
    "hf_token",
    "device",
    "cpu_offload_gb",  # without effect on the CPU, see tests/worker/test_memory.py
    *("enforce_eager", "max_seq_len_to_capture", "compilation_config"),  # see test_compilation
    "disable_log_stats",  # a server's own, see test_usage
    *("runner", "convert", "task", "pooler_config"),  # see tests/pooling
}


@pytest.mark.parametrize("name", EFFECTS)
def test_option_has_its_effect(name: str, model: str) -> None:
    value, where, expected = EFFECTS[name]
    assert at(resolve(EngineArgs(model=model, **{name: value}), usage="server"), where) == expected
    assert at(resolve(EngineArgs(model=model), usage="server"), where) != expected


def test_no_option_is_left_out() -> None:
    assert set(EFFECTS) | TESTED_ELSEWHERE == {o.name for o in options_of(EngineArgs)}


def test_defaults_of_a_local_model(model: str) -> None:
    config = resolve(EngineArgs(model=model), usage="server")
    assert (config.model.model, config.model.path, config.model.tokenizer_path) == (model, model, model)
    assert config.model.served_names == (model,)
    assert (config.model.dtype, config.cache.dtype) == ("float16", "float16")
    assert config.model.max_model_len == 8192
    assert config.model.generation_defaults == {"temperature": 0.6, "top_k": 20}
    assert config.model.eos_token_ids == (2, 7)
    assert (config.cache.block_size, config.cache.prefix_hash, config.cache.memory_bytes) == (128, "blake2b", None)
    assert config.device.platform == "cpu"


def test_bundled_model(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(logging.getLogger("penstock"), "propagate", True)
    monkeypatch.setattr(hub, "BUNDLED_PATH", Path(write_model(tmp_path / "tiny")))
    caplog.set_level(logging.INFO, logger="penstock")
    config = resolve(EngineArgs(), usage="offline")
    assert (config.model.model, config.model.served_names) == ("penstock-tiny", ("penstock-tiny",))
    assert "No model was named: this is the bundled one, penstock-tiny." in caplog.text


def test_tokenizer_and_config_of_other_folders(model: str, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", vocab_size=77)
    config = resolve(EngineArgs(model=model, tokenizer=other, hf_config_path=other), usage="server")
    assert (config.model.path, config.model.tokenizer_path) == (model, other)
    assert config.model.shape.vocab_size == 77


def test_what_the_hub_is_asked_for(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str | None, dict[str, Any]]] = []

    def local_model_dir(name: str | None, **options: Any) -> str:
        asked.append((name, options))
        return model

    monkeypatch.setattr(hub, "local_model_dir", local_model_dir)
    args = EngineArgs(
        model="org/m",
        revision="r1",
        tokenizer="org/t",
        tokenizer_revision="r2",
        download_dir="d",
        hf_token="t",
        ignore_patterns="*.gguf",
    )
    resolve(args, usage="server")
    common = {"download_dir": "d", "token": "t"}
    assert asked == [
        ("org/m", {"revision": "r1", "ignore_patterns": ("*.gguf",), "load_format": "auto", **common}),
        ("org/t", {"revision": "r2", "weights": False, **common}),
    ]


@pytest.mark.parametrize(
    ("machine", "checkpoint", "asked", "dtype"),
    [
        (Machine(), "bfloat16", "auto", "bfloat16"),
        (Machine(), "float16", "auto", "float16"),
        (Machine(), "float32", "auto", "bfloat16"),
        (Machine(fast_16bit=False), "float32", "auto", "float32"),
        (Machine(fast_16bit=False), "bfloat16", "auto", "bfloat16"),
        (Machine(dtypes=("bfloat16", "float32")), "float16", "auto", "bfloat16"),
        (Machine(), "bfloat16", "half", "float16"),
        (Machine(), "float16", "bfloat16", "bfloat16"),
    ],
)
def test_dtype(
    machine: Machine, checkpoint: str, asked: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(machine, monkeypatch)
    model = write_model(tmp_path / "m", torch_dtype=checkpoint)
    assert resolve(EngineArgs(model=model, dtype=asked), usage="server").model.dtype == dtype


def test_dtype_that_the_machine_lacks(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(Machine(dtypes=("float16", "float32")), monkeypatch)
    with pytest.raises(StartError, match="--dtype bfloat16: this cpu computes only in float16, float32"):
        resolve(EngineArgs(model=model, dtype="bfloat16"), usage="server")


@pytest.mark.parametrize(
    ("machine", "usage", "seqs", "tokens"),
    [
        (Machine(), "server", 128, 2048),
        (Machine(), "offline", 256, 4096),
        (Machine("cuda", 24 * GIB), "server", 256, 2048),
        (Machine("cuda", 24 * GIB), "offline", 256, 8192),
        (Machine("cuda", 80 * GIB), "server", 1024, 8192),
        (Machine("cuda", 80 * GIB), "offline", 1024, 16384),
    ],
)
def test_limits_of_a_step(
    machine: Machine, usage: Any, seqs: int, tokens: int, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(machine, monkeypatch)
    config = resolve(EngineArgs(model=model), usage=usage)
    assert (config.scheduler.max_num_seqs, config.scheduler.max_num_batched_tokens) == (seqs, tokens)
    assert config.cache.block_size == (128 if machine.name == "cpu" else 16)


def test_nothing_is_recorded_where_weights_come_and_go(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(Machine("cuda", 24 * GIB), monkeypatch)
    assert resolve(EngineArgs(model=model), usage="server").compilation.decode_sizes
    config = resolve(EngineArgs(model=model, cpu_offload_gb=1.5), usage="server")
    assert config.device.offload_bytes == 3 * GIB // 2
    assert config.compilation == CompilationConfig()


@pytest.mark.parametrize(
    ("keywords", "seqs", "tokens"),
    [
        ({"max_num_seqs": 2, "max_model_len": 100}, 2, 200),  # no more than all of them can use
        ({"max_num_batched_tokens": 50}, 50, 50),  # a token for each
        ({"max_num_seqs": 5000}, 5000, 5000),
        ({"enable_chunked_prefill": False}, 128, 8192),  # a whole prompt in one step
        ({"enable_chunked_prefill": False, "max_model_len": 64}, 128, 2048),
    ],
)
def test_limits_follow_from_each_other(keywords: dict[str, Any], seqs: int, tokens: int, model: str) -> None:
    scheduler = resolve(EngineArgs(model=model, **keywords), usage="server").scheduler
    assert (scheduler.max_num_seqs, scheduler.max_num_batched_tokens) == (seqs, tokens)


@pytest.mark.parametrize("word", ["auto", -1])
def test_context_that_fits(word: Any, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    block = 128 * BYTES_PER_TOKEN

    def context(**keywords: Any) -> int:
        return resolve(EngineArgs(model=model, max_model_len=word, **keywords), usage="server").model.max_model_len

    assert context() == 8192
    assert context(kv_cache_memory_bytes=5 * block) == 4 * 128
    assert (
        context(kv_cache_memory_bytes=5 * block, kv_cache_dtype="int8") == 7 * 128
    )  # 16 codes and a scale for 32 bytes
    assert context(num_gpu_blocks_override=3) == 2 * 128
    use(Machine(memory=40 * block), monkeypatch)
    assert context() == 8 * 128  # a quarter of it, a tenth less, and the block that is never handed out
    use(Machine("cuda", memory=20 * block), monkeypatch)
    assert context(gpu_memory_utilization=0.5) == (int(0.9 * 10 * 8) - 1) * 16
    use(Machine(memory=block), monkeypatch)
    with pytest.raises(StartError, match="--max-model-len auto: the memory does not hold"):
        context()


def test_context_shrinks_to_the_pool_unless_it_was_asked_for(model: str, caplog: pytest.LogCaptureFixture) -> None:
    pool = 10 * 128 * BYTES_PER_TOKEN
    with caplog.at_level(logging.WARNING):
        shrunk = resolve(EngineArgs(model=model, kv_cache_memory_bytes=pool), usage="server")
    assert shrunk.model.max_model_len == 9 * 128  # block 0 is never handed out
    assert "1152 tokens instead of the model's 8192" in caplog.text
    asked = resolve(EngineArgs(model=model, kv_cache_memory_bytes=pool, max_model_len=8192), usage="server")
    assert asked.model.max_model_len == 8192  # the worker refuses it with the numbers


def test_environment(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "0.5")
    assert resolve(EngineArgs(model=model), usage="server").cache.memory_bytes == GIB // 2
    assert resolve(EngineArgs(model=model, kv_cache_memory_bytes=7), usage="server").cache.memory_bytes == 7
    monkeypatch.setenv("PENSTOCK_ALLOW_LONG_MAX_MODEL_LEN", "1")
    assert resolve(EngineArgs(model=model, max_model_len=9000), usage="server").model.max_model_len == 9000


def test_variables_that_nobody_knows_are_reported(
    model: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("penstock"), "propagate", True)
    monkeypatch.setenv("PENSTOCK_CPU_KV_SPACE", "1")
    resolve(EngineArgs(model=model), usage="server")
    assert "PENSTOCK_CPU_KV_SPACE is set, but there is no such variable." in caplog.text


def test_generation_config_of_a_folder(model: str, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", {"top_p": 0.5, "eos_token_id": 9})
    config = resolve(EngineArgs(model=model, generation_config=other), usage="server")
    assert config.model.generation_defaults == {"top_p": 0.5}
    assert config.model.eos_token_ids == (2, 9)


def test_defaults_are_logged(
    model: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(logging.getLogger("penstock"), "propagate", True)
    caplog.set_level(logging.INFO, logger="penstock")
    resolve(EngineArgs(model=model), usage="server")
    assert (
        "Default sampling values come from the model's generation_config: {'temperature': 0.6, 'top_k': 20}"
        in caplog.text
    )
    caplog.clear()
    resolve(EngineArgs(model=write_model(tmp_path / "plain")), usage="server")
    assert "sampling values" not in caplog.text


REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"max_model_len": 8193},
        "User-specified max_model_len (8193) is greater than the derived max_model_len (8192), which is what",
    ),
    ({"max_model_len": 0}, "--max-model-len must be auto or at least 1, not 0."),
    (
        {"max_num_batched_tokens": 4, "max_num_seqs": 8},
        "--max-num-batched-tokens (4) must be at least --max-num-seqs (8): each running request takes a token",
    ),
    (
        {"max_num_batched_tokens": 4096, "enable_chunked_prefill": False},
        "--max-num-batched-tokens (4096) is smaller than the context (8192), so without chunked prefill",
    ),
    ({"block_size": 12}, "--block-size must be a multiple of 8 from 8 to 256, not 12."),
    ({"device": ["tpu"]}, "--device must be text, not ['tpu']"),
    ({"gpu_memory_utilization": 1.5}, "--gpu-memory-utilization must be from 0.01 to 1.0, not 1.5."),
    ({"num_gpu_blocks_override": 1}, "--num-gpu-blocks-override must be at least 2, not 1."),
    ({"max_num_seqs": 0}, "--max-num-seqs must be at least 1, not 0."),
    ({"max_logprobs": -2}, "--max-logprobs must be at least 0, not -2."),
    ({"cpu_threads": -1}, "--cpu-threads must be at least 0, not -1."),
    ({"kv_cache_memory_bytes": 0}, "--kv-cache-memory-bytes must be at least 1, not 0."),
    ({"long_prefill_token_threshold": -1}, "--long-prefill-token-threshold must be at least 0, not -1."),
    (
        {"generation_config": "nowhere"},
        "--generation-config must be auto, vllm or a folder with generation_config.json",
    ),
    ({"override_generation_config": {"topk": 1}}, "--override-generation-config has no 'topk'; it takes temperature"),
    (
        {"override_generation_config": {"top_p": 2}},
        "The default sampling values cannot be used: top_p must be in (0, 1], got 2.",
    ),
    ({"model": "/no/such/folder"}, "There is no folder '/no/such/folder'."),
]


@pytest.mark.parametrize(("keywords", "sentence"), REFUSED, ids=lambda v: next(iter(v)) if isinstance(v, dict) else "")
def test_refusals(keywords: dict[str, Any], sentence: str, model: str) -> None:
    with pytest.raises(StartError) as e:
        resolve(EngineArgs(**{"model": model, **keywords}), usage="server")
    assert str(e.value).startswith(sentence)


def test_quantized_checkpoint(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", quantization_config={"quant_method": "awq"})
    with pytest.raises(StartError, match=r"quantiz.*awq|awq.*quantiz"):
        resolve(EngineArgs(model=model), usage="server")


@pytest.mark.parametrize("asked", [None, "none", "compressed-tensors"])
def test_a_quantized_checkpoint_is_taken_as_it_is(asked: str | None, tmp_path: Path) -> None:
    tensor = {"num_bits": 8, "type": "int", "symmetric": True, "dynamic": False, "strategy": "channel"}
    groups = {"g": {"targets": ["Linear"], "weights": tensor}}
    groups["g"]["input_activations"] = tensor | {"dynamic": True, "strategy": "token"}
    stated = {"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": groups}
    model = write_model(tmp_path / "m", quantization_config=stated)
    config = resolve(EngineArgs(model=model, quantization=asked), usage="server")
    assert config.model.shape.quantization == Quantization("compressed-int8")


def test_no_tokenizer(model: str) -> None:
    (Path(model) / "tokenizer.json").unlink()
    with pytest.raises(StartError, match=r"There is no tokenizer.json in .*; --tokenizer names another folder"):
        resolve(EngineArgs(model=model), usage="server")
    assert resolve(EngineArgs(model=model, skip_tokenizer_init=True), usage="server").model.tokenizer_path is None
    (Path(model) / "tokenizer.model").write_bytes(b"")  # transformers may convert it
    assert resolve(EngineArgs(model=model), usage="server").model.tokenizer_path == model


@pytest.mark.parametrize(
    ("info", "fast"),
    [
        ("model name\t: A\nflags\t\t: fpu avx512f avx512_bf16\n", True),
        ("model name\t: B\nflags\t\t: fpu avx2\n", False),
        ("Features\t: asimd bf16\n", True),
        ("", False),
    ],
)
def test_which_processors_are_fast_in_16_bits(info: str, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_read", lambda path: info if path == Path("/proc/cpuinfo") else None)
    assert cpu.CpuPlatform().facts().fast_16bit == fast
