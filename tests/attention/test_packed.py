"""The kernels' attention: equal to its twin over ragged batches on every instruction set, and to the bit to itself
however a step is cut; 8-bit keys and values; norms and rotation; memory that others used before.
"""

from __future__ import annotations

import pytest
import torch
from attention_rows import Row, dense, run

from penstock.attention.base import AttentionBackend, AttentionSpec, HeadLayout, HeadNorms
from penstock.attention.context import AttentionStep
from penstock.attention.packed import PackedAttention
from penstock.attention.select import create_backend
from penstock.attention.torch_paged import TorchPagedAttention
from penstock.config.shape import ModelShape, Rope
from penstock.errors import StartError
from penstock.ops import kernels

CPU = torch.device("cpu")
ISAS = [name for name in kernels.names() if name != kernels.TWINS]
pytestmark = pytest.mark.skipif(not ISAS, reason="the C++ kernels were not built")
CODES = ("int8", "fp8_e4m3", "fp8_e5m2")
# Of a code: half a step of 127 to the largest; 3 and 2 bits of mantissa.
CODE_ERROR = {"int8": 0.02, "fp8_e4m3": 0.06, "fp8_e5m2": 0.12}


def packed(layout: HeadLayout, block_size: int, dtype: torch.dtype, kv_dtype: str | None = None) -> PackedAttention:
    return PackedAttention(AttentionSpec(layout, block_size, dtype, CPU, kv_dtype or name_of(dtype)))


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@pytest.fixture(params=ISAS)
def instruction_set(request: pytest.FixtureRequest):
    before = kernels.native.isa()
    kernels.choose(request.param)
    yield request.param
    kernels.choose(before)


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest):
    before = kernels.native.num_threads()
    kernels.native.set_num_threads(request.param)
    yield request.param
    kernels.native.set_num_threads(before)


TOLERANCE = {torch.float32: (2e-5, 1e-4), torch.bfloat16: (0.012, 0.02), torch.float16: (2e-3, 2e-3)}


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize(
    ("heads", "kv_heads", "dim", "block_size", "window"),
    [
        (4, 2, 64, 16, None),
        (7, 1, 24, 8, 37),
        (3, 3, 80, 48, None),
        (16, 1, 128, 32, 100),
        (10, 2, 40, 24, 1),
        (6, 2, 256, 128, 128),
        (2, 2, 112, 64, None),
    ],
)
def test_equals_dense_attention(
    instruction_set: str, heads: int, kv_heads: int, dim: int, block_size: int, window: int | None, dtype: torch.dtype
) -> None:
    layout = HeadLayout(heads, kv_heads, dim, dim**-0.5, (None, window))
    rows = [Row(n, layout, dtype, n) for n in (1, 130, 300, 17)]
    cuts = [[0, 1], [100, 1, 29], [7, 200, 90, 3], [17]]
    outputs = run(packed(layout, block_size, dtype), rows, cuts, layer=1)
    twins = run(TorchPagedAttention(AttentionSpec(layout, block_size, dtype, CPU, name_of(dtype))), rows, cuts, layer=1)
    atol, rtol = TOLERANCE[dtype]
    for row, out, twin in zip(rows, outputs, twins, strict=True):
        torch.testing.assert_close(out.double(), dense(row, layout, window), atol=atol, rtol=rtol)
        torch.testing.assert_close(out, twin, atol=atol, rtol=rtol)


@pytest.mark.parametrize(
    ("dtype", "kv_dtype"),
    [
        (torch.bfloat16, "bfloat16"),
        (torch.float32, "float32"),
        (torch.float16, "float16"),
        (torch.bfloat16, "int8"),
        (torch.float16, "fp8_e4m3"),
    ],
    ids=str,
)
@pytest.mark.parametrize("window", [None, 50])
def test_same_bits_however_cut(instruction_set: str, dtype: torch.dtype, kv_dtype: str, window: int | None) -> None:
    layout = HeadLayout(6, 2, 24, 24**-0.5, (window,))
    backend = packed(layout, 16, dtype, kv_dtype)
    row = Row(290, layout, dtype, 0)
    (alone,) = run(backend, [row], [[290]])
    for cuts in ([1] * 290, [64, 64, 64, 64, 34], [289, 1], [3, 130, 157]):
        assert torch.equal(run(backend, [row], [cuts])[0], alone)
    others = [Row(n, layout, dtype, n) for n in (1, 500, 40, 129, 7)]
    together = run(backend, [*others, row], [[len(o)] for o in others] + [[290]])
    assert torch.equal(together[-1], alone)
    decodes = run(backend, [row, *others], [[289, 1]] + [[len(o) - 1, 1] for o in others])
    assert torch.equal(decodes[0], alone)
    assert torch.equal(run(packed(layout, 8, dtype, kv_dtype), [row], [[100, 190]])[0], alone)


def test_same_bits_with_any_number_of_threads(threads: int) -> None:
    layout = HeadLayout(4, 1, 32, 0.2, (None,))
    backend = packed(layout, 32, torch.bfloat16)
    row, other = Row(3000, layout, torch.bfloat16, 0), Row(1500, layout, torch.bfloat16, 1)
    want = dense(row, layout, None, last=3)
    (alone,) = run(backend, [row], [[2990, 7, 1, 1, 1]])  # few rows over long contexts are cut along their keys
    torch.testing.assert_close(alone[-3:].double(), want, atol=0.01, rtol=0.02)
    for cuts in ([[1400, 1600]], [[2999, 1]], [[3000]]):
        assert torch.equal(run(backend, [row], cuts)[0], alone)
    assert torch.equal(run(backend, [other, row], [[1499, 1], [2999, 1]])[1], alone)
    kernels.native.set_num_threads(1)
    assert torch.equal(run(backend, [row], [[3000]])[0], alone)


@pytest.mark.parametrize("kv_dtype", ["bfloat16", *CODES])
def test_nothing_of_an_earlier_owner_is_seen(instruction_set: str, kv_dtype: str) -> None:
    layout = HeadLayout(4, 2, 32, 0.2, (None,))
    backend = packed(layout, 16, torch.bfloat16, kv_dtype)
    row = Row(41, layout, torch.bfloat16, 3)
    (clean,) = run(backend, [row], [[41]])
    poison = Row(64, layout, torch.bfloat16, 4)
    poison.k[::2], poison.k[1::2], poison.v[::3], poison.v[1::3] = float("nan"), float("-inf"), float("inf"), -3e38
    backend.allocate(20)
    run(backend, [poison], [[64]], first_block=2)
    assert torch.equal(run(backend, [row], [[20, 20, 1]], first_block=2)[0], clean)


@pytest.mark.parametrize("kv_dtype", CODES)
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_8_bit_keys_and_values_are_close(instruction_set: str, kv_dtype: str, dtype: torch.dtype) -> None:
    layout = HeadLayout(4, 2, 48, 48**-0.5, (None,))
    row = Row(200, layout, dtype, 5)
    (out,) = run(packed(layout, 16, dtype, kv_dtype), [row], [[150, 50]])
    want = dense(row, layout, None)
    assert (out.double() - want).square().mean().sqrt() < CODE_ERROR[kv_dtype] * want.square().mean().sqrt()


@pytest.mark.parametrize(("kv_dtype", "step"), [("int8", 2**-7), ("fp8_e4m3", 2**-4), ("fp8_e5m2", 2**-3)])
def test_codes_round_to_nearest(instruction_set: str, kv_dtype: str, step: float) -> None:
    """One key gets all the weight, so the output is its value as memory holds it."""
    layout = HeadLayout(1, 1, 256, 1.0, (None,))
    row = Row(1, layout, torch.float32, 0)
    row.v[0, 0] = torch.linspace(-3.5, 3.5, 256)
    row.v[0, 0, 100] = 0.0
    (out,) = run(packed(layout, 16, torch.float32, kv_dtype), [row], [[1]])
    got, want = out[0, 0], row.v[0, 0]
    # Weights times scales are products of bfloat16 where the machine has them: another 256th.
    allowed = (3.5 / 127 / 2 if kv_dtype == "int8" else want.abs() * step) + want.abs() / 256 + 1e-4
    assert ((got - want).abs() <= allowed).all()
    assert got[100] == 0
    assert got[0] == -got[-1]
    assert (got.diff() >= 0).sum() >= 254  # it climbs, but for the 0


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize(("dim", "angles"), [(64, 32), (24, 12), (80, 16)])
def test_norms_and_rotation_equal_the_twin(instruction_set: str, dim: int, angles: int, dtype: torch.dtype) -> None:
    layout = HeadLayout(4, 2, dim, dim**-0.5, (None,))
    generator = torch.Generator().manual_seed(1)
    tokens = 40
    qkv = torch.randn(tokens, 8 * dim, generator=generator).to(dtype)
    weights = (1 + torch.randn(2, dim, generator=generator) / 4).to(dtype)
    angle = torch.arange(tokens)[:, None] * 0.5 ** torch.arange(angles)
    step = AttentionStep(
        [tokens], [tokens], torch.tensor([[1, 2, 3]]).int(), torch.arange(16, 16 + tokens), torch.arange(tokens)
    )

    def out(backend: AttentionBackend, norms: HeadNorms | None) -> torch.Tensor:
        backend.allocate(4)
        return backend.bind(step).attend(0, qkv.clone(), (angle.cos(), angle.sin()), norms)

    twin = TorchPagedAttention(AttentionSpec(layout, 16, dtype, CPU, name_of(dtype)))
    atol, rtol = TOLERANCE[dtype]
    for norms in (None, HeadNorms(weights[0], weights[1], 1e-6)):
        want = out(twin, norms)
        torch.testing.assert_close(out(packed(layout, 16, dtype), norms), want, atol=2 * atol, rtol=2 * rtol)


def test_bytes_per_block_is_what_allocate_takes() -> None:
    for kv_dtype, bytes_per_token in (("bfloat16", 2 * 2 * 2 * 24), ("int8", 2 * (24 + 32 + 8))):
        layout = HeadLayout(4, 2, 24, 0.25, (None,) * 3)
        backend = packed(layout, 32, torch.bfloat16, kv_dtype)
        backend.allocate(5)
        assert sum(m.numel() for m in backend._memory) == 5 * backend.bytes_per_block()
        least = 3 * 32 * bytes_per_token
        assert least <= backend.bytes_per_block() <= 1.2 * least  # values are padded to multiples of 16


def test_selection_and_refusals() -> None:
    shape = ModelShape("LlamaForCausalLM", 10, 64, 64, 2, 4, 2, 16, 1e-6, 64, Rope())
    assert isinstance(create_backend("auto", shape, 16, torch.float32, CPU), PackedAttention)
    assert isinstance(create_backend("auto", shape, 4, torch.float32, CPU), TorchPagedAttention)
    with pytest.raises(StartError, match="--kv-cache-dtype int8"):
        create_backend("torch_paged", shape, 16, torch.float32, CPU, "int8")
    assert isinstance(create_backend("TORCH_SDPA", shape, 16, torch.float32, CPU), PackedAttention)
    with pytest.raises(StartError, match="--attention-backend FLASH_ATTN: varlen: torch's flash attention is for GPUs"):
        create_backend("FLASH_ATTN", shape, 16, torch.float32, CPU)
    with pytest.raises(StartError, match="--attention-backend TRITON_ATTN: triton: "):
        create_backend("TRITON_ATTN", shape, 16, torch.float32, CPU)
    before = kernels.native.isa()
    kernels.choose(kernels.TWINS)
    assert isinstance(create_backend("auto", shape, 16, torch.float32, CPU), TorchPagedAttention)
    kernels.choose(before)


def with_pages_of_three_blocks(monkeypatch: pytest.MonkeyPatch) -> PackedAttention:
    """Of two layers, a hundred blocks of 16 tokens."""
    layout = HeadLayout(4, 2, 64, 1.0, (None, None))
    block_bytes = packed(layout, 16, torch.bfloat16).bytes_per_block()
    monkeypatch.setattr("penstock.attention.packed.AHEAD_BYTES", 10 * block_bytes)
    monkeypatch.setattr("penstock.attention.packed.AT_ONCE", 3 * block_bytes // 2)
    backend = packed(layout, 16, torch.bfloat16)
    backend.allocate(100)
    return backend


def test_an_idle_engine_takes_memory_ahead_of_use_and_changes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = with_pages_of_three_blocks(monkeypatch)
    for memory in backend._memory:
        memory[7] = 1
    enter(backend, list(range(1, 9)))
    assert taken(backend) == (19, 0)  # ten blocks beyond the eighth, in both layers
    assert all(bool((memory[7] == 1).all()) and not memory[8:].any() for memory in backend._memory)
    enter(backend, [30])
    assert taken(backend) == (41, 0)
    enter(backend, [95])
    assert taken(backend) == (100, 0)
    enter(backend, [99])
    assert taken(backend) == (100, 0)


def test_small_steps_take_the_pages_of_later_ones_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = with_pages_of_three_blocks(monkeypatch)
    states = []
    for _ in range(6):
        enter(backend, [1])
        states.append(backend._taken)
    assert states == [(2, 1), (5, 0), (5, 1), (8, 0), (8, 0), (8, 0)]  # as far as two pages behind the block in use
    enter(backend, [1, 2, 3, 4], tokens=48)
    assert backend._taken == (8, 0), "a step that fills pages takes those alone"
    enter(backend, [1, 2, 3, 4], tokens=47)
    assert backend._taken == (11, 0)


def taken(backend: PackedAttention) -> tuple[int, int]:
    """Where an idle engine ends."""
    while backend.idle():
        pass
    return backend._taken


def enter(backend: PackedAttention, blocks: list[int], tokens: int = 1) -> None:
    """A step of one row that sees these."""
    zeros = torch.zeros(tokens, dtype=torch.int64)
    tables = torch.tensor([blocks], dtype=torch.int32)
    backend.bind(AttentionStep([tokens], [16 * len(blocks)], tables, zeros, zeros))
