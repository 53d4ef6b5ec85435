"""A sequence's logits are the same bits alone, in any batch, in any chunks, after taking over cached blocks."""

from __future__ import annotations

import pytest
import torch
from paged_driver import PagedDriver, Sequence

from penstock.attention.context import AttentionStep
from penstock.config.shape import ModelShape, Quantization, Rope
from penstock.layers.context import BuildContext
from penstock.loading.loader import load_weights
from penstock.models.interface import Model
from penstock.models.registry import build
from penstock.ops import kernels

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SHAPES = {
    "odd": dict(hidden_size=100, intermediate_size=176, num_heads=6, num_kv_heads=2, head_dim=24),
    "small-heads": dict(hidden_size=72, intermediate_size=90, num_heads=4, num_kv_heads=4, head_dim=16),
    "window": dict(
        hidden_size=64, intermediate_size=176, num_heads=7, num_kv_heads=1, head_dim=16, layer_windows=(19, None)
    ),
    "wide": dict(hidden_size=256, intermediate_size=700, num_heads=8, num_kv_heads=2, head_dim=64),
}


def make(name: str, dtype: torch.dtype, method: str | None = None) -> tuple[Model, ModelShape]:
    shape = ModelShape(
        architecture="Qwen3ForCausalLM",
        vocab_size=307,
        num_layers=2,
        norm_eps=1e-6,
        max_position=512,
        rope=Rope(),
        attention_bias=True,
        tie_embeddings=name != "wide",
        quantization=Quantization(method, 32) if method else None,
        **SHAPES[name],
    )
    model = build(shape, BuildContext(dtype=dtype, device=torch.device("cpu"), max_len=512))
    load_weights(model, "", "dummy")
    for module in model.modules():  # the made-up values of norms and biases would hide mistakes
        for weight in module.buffers(recurse=False):
            if weight.dim() == 1 and weight.is_floating_point():
                weight.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(weight.numel()))
    return model, shape


def tokens(length: int, seed: int) -> list[int]:
    return torch.randint(0, 307, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a.view(torch.int32), b.view(torch.int32))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", SHAPES)
def test_same_bits_however_it_is_run(name: str, dtype: torch.dtype) -> None:
    check_same_bits(*make(name, dtype), dtype)


@pytest.mark.parametrize("method", ["int8", "int4"])
@pytest.mark.parametrize(("name", "dtype"), [("odd", torch.bfloat16), ("wide", torch.float32)], ids=str)
def test_same_bits_with_quantized_weights(name: str, dtype: torch.dtype, method: str) -> None:
    check_same_bits(*make(name, dtype, method), dtype)


def check_same_bits(model: Model, shape: ModelShape, dtype: torch.dtype) -> None:

    def driver(block_size: int = 16) -> PagedDriver:
        return PagedDriver(model, shape, dtype, block_size)

    prompt = tokens(150, 1)
    (alone,) = driver().prefill([Sequence(prompt)])
    assert torch.isfinite(alone).all()

    for chunk in (1, 5, 64, 149):
        (chunked,) = driver().prefill([Sequence(prompt)], chunk)
        assert same_bits(alone, chunked), f"in chunks of {chunk}"

    for lengths in ((3,), (200, 1, 37), tuple(range(1, 40))):
        others = [Sequence(tokens(n, n)) for n in lengths]
        middle = len(others) // 2
        seq = Sequence(prompt)
        batch = [*others[:middle], seq, *others[middle:]]
        big = PagedDriver(model, shape, dtype, num_blocks=200)
        assert same_bits(alone, big.prefill(batch, 32)[middle]), f"with {len(others)} others in chunks of 32"
        big = PagedDriver(model, shape, dtype, num_blocks=200)
        assert same_bits(alone, big.prefill([Sequence(s.tokens) for s in batch])[middle]), f"with {len(others)} others"

    shared = driver()
    owner = Sequence(prompt[:100] + tokens(30, 9))
    shared.prefill([owner], 48)
    taker = Sequence(prompt)
    shared.share_prefix(owner, taker, 6)
    (rest,) = shared.prefill([taker])
    assert same_bits(alone[96:], rest), "after taking over cached blocks"


@pytest.mark.parametrize(
    ("dtype", "method"), [*((d, None) for d in DTYPES), (torch.bfloat16, "int8"), (torch.bfloat16, "int4")], ids=str
)
def test_same_bits_with_threads(dtype: torch.dtype, method: str | None) -> None:
    """Sizes at which torch cuts its loops among threads."""
    kernels.use_threads(2)
    model, shape = make("wide", dtype, method)
    prompt = tokens(300, 1)
    (alone,) = PagedDriver(model, shape, dtype).prefill([Sequence(prompt)])
    (chunked,) = PagedDriver(model, shape, dtype).prefill([Sequence(prompt)], 77)
    assert same_bits(alone, chunked)
    batch = [Sequence(tokens(90, 2)), Sequence(prompt), Sequence(tokens(211, 3))]
    assert same_bits(alone, PagedDriver(model, shape, dtype).prefill(batch)[1])


@pytest.mark.parametrize("method", [None, "int8"])
def test_wanted_tokens_are_those_of_all(method: str | None) -> None:
    model, shape = make("odd", torch.bfloat16, method)
    backend = PagedDriver(model, shape, torch.bfloat16).backend
    step = AttentionStep([40], [40], torch.tensor([[1, 2, 3]]).int(), torch.arange(16, 56), torch.arange(40))
    token_ids = torch.tensor(tokens(40, 1))
    hidden = model(token_ids, step.positions_T, backend.bind(step))
    for wanted in ([7, 39], []):
        rows = torch.tensor(wanted, dtype=torch.int64)
        some = model(token_ids, step.positions_T, backend.bind(step), rows)
        assert torch.equal(some, hidden[rows])


def test_generating_and_recomputing_agree() -> None:
    """As after a preemption: what was generated token by token is prefilled again with its prompt."""
    model, shape = make("odd", torch.bfloat16)
    seq = Sequence(tokens(20, 4))
    (logits,) = PagedDriver(model, shape, torch.bfloat16).generate([seq], 30)
    again = Sequence(seq.tokens[:-1])
    (recomputed,) = PagedDriver(model, shape, torch.bfloat16).prefill([again])
    assert same_bits(logits, recomputed)


def test_a_neighbours_overflow_stays_its_own() -> None:
    """Blocks that held another request's infinities do not touch their next owner."""
    model, shape = make("odd", torch.float16)
    (clean,) = PagedDriver(model, shape, torch.float16).prefill([Sequence(tokens(20, 4))])
    driver = PagedDriver(model, shape, torch.float16)
    step = AttentionStep([32], [32], torch.tensor([[1, 2]]).int(), torch.arange(16, 48), torch.arange(32))
    width = (shape.num_heads + 2 * shape.num_kv_heads) * shape.head_dim
    angles = torch.ones(32, 1), torch.zeros(32, 1)
    for layer in range(shape.num_layers):
        bad = torch.full((32, width), float("inf"), dtype=torch.float16)
        driver.backend.bind(step).attend(layer, bad, angles)
    (after,) = driver.prefill([Sequence(tokens(20, 4))])
    assert same_bits(clean, after)
