"""Paged attention by Triton kernels: equal to dense attention and to its twins over ragged batches, whole and cut."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import pytest
import torch
from attention_rows import Row, dense, run

from penstock.attention import triton_paged
from penstock.attention.base import AttentionSpec, HeadLayout, HeadNorms
from penstock.attention.context import AttentionStep, DeviceLens
from penstock.attention.select import BACKENDS
from penstock.attention.torch_paged import TorchPagedAttention
from penstock.attention.triton_paged import TritonPagedAttention
from triton_checks import Kernel, check_compiled

TOLERANCE = {torch.float32: (2e-5, 1e-4), torch.bfloat16: (0.012, 0.02), torch.float16: (3e-3, 3e-3)}
# Relative error of a code: half a step of 127 to the largest; 3 and 2 bits of mantissa.
CODE_ERROR = {"int8": 0.02, "fp8_e4m3": 0.06, "fp8_e5m2": 0.12}


@pytest.fixture(autouse=True)
def short_rows_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_paged, "SHORTEST_PART", 32)
    monkeypatch.setattr(triton_paged, "SEGMENT", 64)


@pytest.fixture
def products_of_any_order(place: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter's products are numpy's, where a row's order of additions depends on its place in the tile.

    That of a tensor core does not. In float64 the order hardly ever shows after rounding.
    """
    if place.type != "cpu":
        return
    interpreter = importlib.import_module("triton.runtime.interpreter")

    def create_dot(self: object, a: Any, b: Any, d: Any, *how: object) -> Any:
        product = a.data.astype("float64") @ b.data.astype("float64")
        return interpreter.TensorHandle(product.astype(d.data.dtype) + d.data, d.dtype.scalar)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)


def backend(
    layout: HeadLayout,
    place: torch.device,
    dtype: torch.dtype,
    kv_dtype: str | None = None,
    *,
    block_size: int = 16,
    batch_invariant: bool = False,
) -> TritonPagedAttention:
    kv_dtype = kv_dtype or str(dtype).removeprefix("torch.")
    spec = AttentionSpec(layout, block_size, dtype, place, kv_dtype, batch_invariant)
    assert TritonPagedAttention.refusal(spec) is None
    return TritonPagedAttention(spec)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "dim", "block_size", "window"),
    [(4, 2, 64, 16, None), (7, 1, 24, 8, 37), (3, 3, 80, 48, None), (16, 1, 128, 32, 100), (10, 2, 40, 64, 1)],
)
def test_equals_dense_attention(
    place: torch.device, dtype: torch.dtype, heads: int, kv_heads: int, dim: int, block_size: int, window: int | None
) -> None:
    layout = HeadLayout(heads, kv_heads, dim, dim**-0.5, (None, window))
    rows = [Row(n, layout, dtype, n) for n in (1, 40, 90, 17)]
    cuts = [[0, 1], [30, 1, 9], [7, 80, 2, 1], [17]]
    outputs = run(backend(layout, place, dtype, block_size=block_size), rows, cuts, layer=1)
    atol, rtol = TOLERANCE[dtype]
    for row, out in zip(rows, outputs, strict=True):
        torch.testing.assert_close(out.double(), dense(row, layout, window), atol=atol, rtol=rtol)


@pytest.mark.parametrize("window", [None, 5])
def test_whole_rows_that_see_ahead(place: torch.device, dtype: torch.dtype, window: int | None) -> None:
    layout = HeadLayout(6, 2, 24, 24**-0.5, (None, window), causal=False)
    rows = [Row(n, layout, dtype, n) for n in (1, 17, 80)]
    twin = TorchPagedAttention(AttentionSpec(layout, 16, dtype, torch.device("cpu"), str(dtype).removeprefix("torch.")))
    cuts = [[len(r)] for r in rows]
    atol, rtol = TOLERANCE[dtype]
    got, want = (run(b, rows, cuts, layer=1) for b in (backend(layout, place, dtype), twin))
    for out, right in zip(got, want, strict=True):
        torch.testing.assert_close(out, right, atol=atol, rtol=rtol)


def decode_step(contexts: list[int], place: torch.device, block_size: int = 16) -> AttentionStep:
    """Rows of one token each; context 0 stands for a row of a graph beyond the real ones."""
    width = -(-max(contexts) // block_size)
    tables = torch.arange(1, len(contexts) * width + 1, dtype=torch.int32).view(-1, width)
    last = [max(0, c - 1) for c in contexts]
    slots = [int(tables[r, p // block_size]) * block_size + p % block_size if c else 0
             for r, (c, p) in enumerate(zip(contexts, last, strict=True))]  # fmt: skip
    lens = DeviceLens(
        torch.arange(len(contexts) + 1, dtype=torch.int32).to(place), torch.tensor(contexts).int().to(place)
    )
    return AttentionStep(
        [1] * len(contexts),
        contexts,
        tables.to(place),
        torch.tensor(slots).to(place),
        torch.tensor(last).to(place),
        lens,
    )


def fill(some: TritonPagedAttention, contexts: list[int], num_blocks: int) -> None:
    """Keys and values of the contexts' tokens, random."""
    some.allocate(num_blocks)
    layout, place = some.layout, some.device
    for row, context in enumerate(contexts):
        step = decode_step(contexts, place)
        tokens = torch.arange(context, device=place)
        table = step.block_tables_RB[row].long()
        slots = table[tokens // 16] * 16 + tokens % 16
        prompt = AttentionStep([context], [context], step.block_tables_RB[row : row + 1], slots, tokens)
        some.bind(prompt).attend(0, random_qkv(context, layout, some, row), no_angles(context, some))


def random_qkv(tokens: int, layout: HeadLayout, some: TritonPagedAttention, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    width = (layout.num_heads + 2 * layout.num_kv_heads) * layout.head_dim
    return torch.randn(tokens, width, generator=generator).to(some.dtype).to(some.device)


def no_angles(tokens: int, some: TritonPagedAttention) -> tuple[torch.Tensor, torch.Tensor]:
    half = some.layout.head_dim // 2
    return torch.ones(tokens, half, device=some.device), torch.zeros(tokens, half, device=some.device)


@pytest.mark.parametrize("window", [None, 90])
@pytest.mark.parametrize("kv_dtype", ["float16", "fp8_e4m3"])
def test_parts_of_a_row_join_to_the_whole(place: torch.device, kv_dtype: str, window: int | None) -> None:
    layout = HeadLayout(4, 1, 32, 0.2, (window,))
    some = backend(layout, place, torch.float16, kv_dtype)
    contexts = [300, 3, 70]
    fill(some, contexts, 3 * 19 + 1)
    step = decode_step(contexts, place)
    qkv_TN = random_qkv(3, layout, some, 9)
    meta = some.build(step)
    assert meta.parts > 1
    outputs = [
        some.attend(0, qkv_TN.clone(), no_angles(3, some), None, replace(meta, parts=n, segments=n))
        for n in (1, 2, meta.parts, 64)
    ]
    for out in outputs[1:]:
        torch.testing.assert_close(out, outputs[0], atol=1e-3, rtol=2e-3)


@pytest.mark.parametrize("batch_invariant", [False, True])
def test_metadata_of_a_graph_serves_other_lengths(
    place: torch.device, products_of_any_order: None, batch_invariant: bool
) -> None:
    layout = HeadLayout(4, 2, 16, 0.25, (None,))
    some = backend(layout, place, torch.float32, batch_invariant=batch_invariant)
    fill(some, [140, 70], 2 * 9 + 1)
    kept = decode_step([1, 1, 1], place)  # a graph's own tensors, for two real rows and one more
    tables = torch.zeros(3, 12, dtype=torch.int32, device=place)
    kept = replace(kept, block_tables_RB=tables)
    meta = some.build_padded(kept, 192)
    for contexts in ([140, 70], [100, 2]):
        step = decode_step([140, 70], place)
        step = replace(step, context_lens=contexts, lens=None)
        last = torch.tensor([c - 1 for c in contexts], device=place)
        slots = step.block_tables_RB.long().gather(1, (last // 16)[:, None])[:, 0] * 16 + last % 16
        step = replace(step, slots_T=slots, positions_T=last)
        qkv_TN = random_qkv(3, layout, some, 5)
        want = some.bind(step).attend(0, qkv_TN[:2].clone(), no_angles(2, some))
        tables[:2, : step.block_tables_RB.shape[1]] = step.block_tables_RB
        assert kept.lens is not None
        kept.lens.context_lens_R.copy_(torch.tensor([*contexts, 0]))
        kept.slots_T.copy_(torch.cat([slots, torch.zeros(1, dtype=torch.int64, device=place)]))
        got = some.attend(0, qkv_TN.clone(), no_angles(3, some), None, meta)
        torch.testing.assert_close(got[:2], want, atol=1e-5, rtol=1e-4)
        assert not got[2].any()
        if batch_invariant:
            assert torch.equal(got[:2], want)


@pytest.mark.parametrize("kv_dtype", list(CODE_ERROR))
def test_8_bit_keys_and_values_are_close(place: torch.device, dtype: torch.dtype, kv_dtype: str) -> None:
    layout = HeadLayout(4, 2, 48, 48**-0.5, (None,))
    row = Row(100, layout, dtype, 5)
    (out,) = run(backend(layout, place, dtype, kv_dtype), [row], [[80, 19, 1]])
    want = dense(row, layout, None)
    assert (out.double() - want).square().mean().sqrt() < CODE_ERROR[kv_dtype] * want.square().mean().sqrt()


@pytest.mark.parametrize(("kv_dtype", "step"), [("int8", 2**-7), ("fp8_e4m3", 2**-4), ("fp8_e5m2", 2**-3)])
def test_codes_round_to_nearest(place: torch.device, kv_dtype: str, step: float) -> None:
    """One key gets all the weight, so the output is its value as memory holds it."""
    layout = HeadLayout(1, 1, 256, 1.0, (None,))
    row = Row(1, layout, torch.float32, 0)
    row.v[0, 0] = torch.linspace(-3.5, 3.5, 256)
    row.v[0, 0, 100] = 0.0
    (out,) = run(backend(layout, place, torch.float32, kv_dtype), [row], [[1]])
    got, want = out[0, 0], row.v[0, 0]
    allowed = (3.5 / 127 / 2 if kv_dtype == "int8" else want.abs() * step) + 1e-4
    assert ((got - want).abs() <= allowed).all()
    assert got[100] == 0
    assert got[0] == -got[-1]


@pytest.mark.parametrize("kv_dtype", ["float16", "int8"])
def test_nothing_of_an_earlier_owner_is_seen(place: torch.device, kv_dtype: str) -> None:
    layout = HeadLayout(4, 2, 32, 0.2, (None,))
    some = backend(layout, place, torch.float16, kv_dtype)
    row = Row(41, layout, torch.float16, 3)
    (clean,) = run(some, [row], [[41]])
    poison = Row(64, layout, torch.float16, 4)
    poison.k[::2], poison.k[1::2], poison.v[::3], poison.v[1::3] = float("nan"), float("-inf"), float("inf"), -6e4
    some.allocate(20)
    run(some, [poison], [[64]], first_block=2)
    assert torch.equal(run(some, [row], [[41]], first_block=2)[0], clean)


@pytest.mark.parametrize(("dim", "angles"), [(64, 32), (24, 12), (80, 16), (32, 0)])
def test_norms_and_rotation_equal_the_twin(place: torch.device, dtype: torch.dtype, dim: int, angles: int) -> None:
    layout = HeadLayout(4, 2, dim, dim**-0.5, (None,))
    generator = torch.Generator().manual_seed(1)
    tokens = 20
    qkv = torch.randn(tokens, 8 * dim, generator=generator).to(dtype)
    weights = (1 + torch.randn(2, dim, generator=generator) / 4).to(dtype)
    angle = torch.arange(tokens)[:, None] * 0.5 ** torch.arange(angles)

    def out(some: TritonPagedAttention | TorchPagedAttention, norms: bool) -> torch.Tensor:
        on = some.device
        some.allocate(4)
        step = AttentionStep(
            [tokens],
            [tokens],
            torch.tensor([[1, 2, 3]], device=on).int(),
            torch.arange(16, 16 + tokens, device=on),
            torch.arange(tokens, device=on),
        )
        heads = HeadNorms(weights[0].to(on), weights[1].to(on), 1e-6) if norms else None
        return some.bind(step).attend(0, qkv.clone().to(on), (angle.cos().to(on), angle.sin().to(on)), heads).cpu()

    twin = TorchPagedAttention(AttentionSpec(layout, 16, dtype, torch.device("cpu"), str(dtype).removeprefix("torch.")))
    atol, rtol = TOLERANCE[dtype]
    for norms in (False, True):
        want = out(twin, norms)
        torch.testing.assert_close(out(backend(layout, place, dtype), norms), want, atol=2 * atol, rtol=2 * rtol)


@pytest.mark.parametrize("kv_dtype", ["float16", "fp8_e4m3"])
@pytest.mark.parametrize("window", [None, 100])
def test_same_bits_however_cut(
    place: torch.device, products_of_any_order: None, kv_dtype: str, window: int | None
) -> None:
    layout = HeadLayout(6, 2, 24, 24**-0.5, (window,))
    some = backend(layout, place, torch.float16, kv_dtype, batch_invariant=True)
    row = Row(160, layout, torch.float16, 0)
    (alone,) = run(some, [row], [[160]])
    for cuts in ([90, 1, 68, 1], [150, 10]):
        assert torch.equal(run(some, [row], [cuts])[0], alone)
    others = [Row(n, layout, torch.float16, n) for n in (1, 40, 7)]
    together = run(some, [*others, row], [[1], [39, 1], [7], [159, 1]])
    assert torch.equal(together[-1], alone)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["varlen", "flashinfer"])
@pytest.mark.parametrize("block_size", [16, 256])
@pytest.mark.parametrize("window", [None, 37])
@pytest.mark.parametrize("causal", [True, False])
def test_backends_of_gpus_agree(name: str, block_size: int, window: int | None, causal: bool) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU that torch.cuda sees")
    place, dtype = torch.device("cuda"), torch.bfloat16
    layout = HeadLayout(8, 2, 64, 0.125, (None, window), causal)
    kind: type[TritonPagedAttention] = BACKENDS.get(name)
    spec = AttentionSpec(layout, block_size, dtype, place, "bfloat16")
    refusal = kind.refusal(spec)
    if name == "flashinfer" and refusal is not None:
        pytest.skip(refusal)
    assert refusal is None
    rows = [Row(n, layout, dtype, n) for n in (1, 300, 1000, 17)]
    cuts = [[1], [100, 1, 198, 1], [7, 990, 2, 1], [17]] if causal else [[len(r)] for r in rows]
    outputs = run(kind(spec), rows, cuts, layer=1)
    others = run(backend(layout, place, dtype, block_size=block_size), rows, cuts, layer=1)
    for out, other in zip(outputs, others, strict=True):
        torch.testing.assert_close(out, other, atol=0.012, rtol=0.02)


def kernels_of(
    kv_dtype: str, stored: str, *, group: int, batch_invariant: bool, one_token: bool, dim: int = 128
) -> Kernel:
    """As for a bfloat16 model, in blocks of 16."""
    compute = triton_paged.compute_dtype(torch.bfloat16, kv_dtype)
    code, largest = triton_paged.CODES.get(kv_dtype, (0, 3e38))
    shape = triton_paged.tiling(
        dim, group, compute, coded=code != 0, one_token=one_token, batch_invariant=batch_invariant
    )
    signature = dict.fromkeys(("q_ptr", "out_ptr"), "*bf16") | dict.fromkeys(
        ("part_sums_ptr", "part_weights_ptr"), "*fp32"
    )
    signature |= {"kv_ptr": stored, "scales_ptr": "*fp32"}
    signature |= dict.fromkeys(("tables_ptr", "starts_ptr", "contexts_ptr"), "*i32")
    pointers = tuple(signature)
    signature |= dict.fromkeys(("table_stride", "num_rows", "parts", "num_segments"), "i32")
    signature |= dict.fromkeys(("score_factor", "out_factor"), "fp32")
    constants: dict[str, Any] = dict(
        ONE_TOKEN=one_token, SPLIT=one_token, SEGMENT=512 if batch_invariant else 0, HEADS=8 * group, KV_HEADS=8,
        DIM=dim, DIM_P=dim, PAGE=16, WINDOW=0, CAUSAL=True, CODE=code, LARGEST=largest, NATIVE=False,
        COMPUTE_BITS=0 if compute == torch.bfloat16 else 16, BLOCK_M=shape.rows, BLOCK_N=shape.keys,
    )  # fmt: skip
    path = "penstock.attention.triton_attend:attend_kernel"
    tensor_core = ("wgmma.mma_async", "mma.sync")
    return Kernel(path, signature | dict.fromkeys(constants, "constexpr"), constants, shape.warps, shape.stages,
                  pointers, (tensor_core, "cp.async"))  # fmt: skip


def test_it_compiles() -> None:
    pytest.importorskip("triton")
    kernels = [
        kernels_of("bfloat16", "*bf16", group=4, batch_invariant=False, one_token=True),
        kernels_of("bfloat16", "*bf16", group=8, batch_invariant=False, one_token=True),
        kernels_of("bfloat16", "*bf16", group=4, batch_invariant=False, one_token=False),
        kernels_of("bfloat16", "*bf16", group=4, batch_invariant=True, one_token=True),
        kernels_of("fp8_e5m2", "*u8", group=4, batch_invariant=False, one_token=True),
        kernels_of("int8", "*i8", group=4, batch_invariant=False, one_token=True),
    ]
    pointers = {"qkv_ptr": "*bf16", "q_ptr": "*bf16", "kv_ptr": "*u8", "scales_ptr": "*fp32"}
    pointers |= dict.fromkeys(("q_weight_ptr", "k_weight_ptr"), "*bf16") | dict.fromkeys(
        ("cos_ptr", "sin_ptr"), "*fp32"
    )
    pointers |= {"slots_ptr": "*i64"}
    constants = dict(HEADS=32, KV_HEADS=8, DIM=128, DIM_P=128, HALF=64, PAGE=16, NORMS=True, CODE=1, LARGEST=448.0,
                     BLOCK_H=8)  # fmt: skip
    signature = pointers | {"eps": "fp32"} | dict.fromkeys(constants, "constexpr")
    path = "penstock.attention.triton_store:store_kernel"
    check_compiled([*kernels, Kernel(path, signature, constants, aligned=tuple(pointers))])


def test_the_deepest_heads_fit_the_gpus_with_the_least_shared_memory() -> None:
    pytest.importorskip("triton")
    kernels = [
        kernels_of(kv_dtype, stored, group=4, batch_invariant=False, one_token=one_token, dim=256)
        for kv_dtype, stored in (("bfloat16", "*bf16"), ("int8", "*i8"))
        for one_token in (False, True)
    ]
    check_compiled(kernels, capabilities=(80, 89, 90))


def test_bytes_per_block_is_what_allocate_takes(place: torch.device) -> None:
    layout = HeadLayout(4, 2, 24, 0.25, (None,) * 3)
    for kv_dtype, bytes_per_number, scales in (("float16", 2, 0), ("int8", 1, 2 * 2 * 3 * 32 * 4)):
        some = backend(layout, place, torch.float16, kv_dtype, block_size=32)
        assert some.bytes_per_block() == 3 * 2 * 2 * 24 * 32 * bytes_per_number + scales
        some.allocate(5)
        assert sum(m.nbytes for m in {id(m): m for m in (*some._memory, *some._scales)}.values()) == (
            5 * some.bytes_per_block()
        )
