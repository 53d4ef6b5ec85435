"""The rows of the GPU benchmark, each in a process of its own: `python rows.py KEY RESULTS.json [--rehearse]`.

Prints the row's measurement as the last line, in JSON. RESULTS.json holds the rows before it: their ceilings are used.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shapes import REHEARSAL, SHAPES, write_checkpoint, write_folder

Measured = dict[str, Any]
WARM_S, PREFILL_S = 6.0, 20.0
MOST_ROUNDS = 20

FIRST_TOKEN = """
import sys
from penstock import LLM, SamplingParams
options = {"enforce_eager": True} if sys.argv[2] == "eager" else {}
llm = LLM(sys.argv[1], device=sys.argv[3], skip_tokenizer_init=True, use_tqdm_on_load=False, **options)
out = llm.generate({"prompt_token_ids": [5, 6, 7]}, SamplingParams(max_tokens=1, temperature=0), use_tqdm=False)
assert len(out[0].outputs[0].token_ids) == 1
"""


@dataclass(frozen=True)
class Setup:
    """What rows run on.

    Attributes:
        rehearse: small, on the CPU.
        before: rows that have been measured.
        folder: for files.
    """

    rehearse: bool
    before: dict[str, Measured]
    folder: Path

    @property
    def device(self) -> str:
        return "cpu" if self.rehearse else "cuda"

    @property
    def warm_s(self) -> float:
        return 0.1 if self.rehearse else WARM_S

    def pick(self, real: int, small: int) -> int:
        return small if self.rehearse else real

    def shape(self, name: str) -> Any:
        return (REHEARSAL if self.rehearse else SHAPES)[name]

    def rate(self, name: str) -> float:
        """A ceiling that the first row has measured."""
        return float(self.before["ceilings"][name])


def ceilings(setup: Setup) -> Measured:
    """What the device can do, by torch: bytes and operations per second."""
    import torch

    size = setup.pick(4 << 30, 4 << 20)
    a = torch.empty(size, dtype=torch.uint8, device=setup.device).random_()
    b = torch.empty_like(a)
    copy = 2 * size / _median_s(setup, lambda: b.copy_(a))
    words = a.view(torch.int32)
    read = size / _median_s(setup, lambda: words.max())
    n = setup.pick(8192, 256)
    x, y = (torch.randn(n, n, device=setup.device, dtype=torch.bfloat16) for _ in range(2))
    bf16 = 2 * n**3 / _median_s(setup, lambda: x @ y)
    name = "CPU" if setup.rehearse else torch.cuda.get_device_name()
    return {"bandwidth": copy, "read": read, "bf16": bf16, "device": name, "torch": torch.__version__}


def _median_s(setup: Setup, work: Callable[[], object]) -> float:
    device = _device(setup)
    for _ in range(3):
        work()
    spent = []
    for _ in range(10):
        start, end = device.event(), device.event()
        start.record()
        work()
        end.record()
        end.synchronize()
        spent.append(start.elapsed_ms(end) / 1e3)
    return statistics.median(spent)


def _device(setup: Setup) -> Any:
    from penstock import platforms

    return platforms.current(setup.device).device()


def _decode(setup: Setup, batch: int, context: int, weights: str, **options: Any) -> Measured:
    from drive import ROUND, WARM_ROUNDS, Driver

    shape = setup.shape("8b")
    driver = Driver(
        write_folder(shape, setup.folder / "8b"),
        room=batch * (context + (MOST_ROUNDS + WARM_ROUNDS + 1) * ROUND),
        device=setup.device,
        max_num_seqs=batch,
        max_num_batched_tokens=setup.pick(16384, 64),
        max_model_len=setup.pick(16384, 1024),
        compilation_config={"cudagraph_capture_sizes": [batch]},  # the others take time, and no step is for them
        **options,
    )
    driver.warm_up(batch, setup.warm_s)
    driver.prefill(batch, context)
    rounds, seen = driver.steady_decode(MOST_ROUNDS)
    driver.close()
    step = statistics.median(rounds)
    moved, operations = shape.decode_floors(batch, int(seen), weights)
    by_bytes, by_operations = moved / setup.rate("bandwidth"), operations / setup.rate("bf16")
    return {
        "step_ms": step * 1e3,
        "tokens_per_s": batch / step,
        "bytes_floor_ms": by_bytes * 1e3,
        "operations_floor_ms": by_operations * 1e3,
        "share": max(by_bytes, by_operations) / step,
        "bandwidth_share": by_bytes / step,
        "context": seen,
        "rounds_ms": [r * 1e3 for r in rounds],
    }


def decode_1(setup: Setup) -> Measured:
    return _decode(setup, 1, setup.pick(128, 16), "bf16")


def decode_256(setup: Setup) -> Measured:
    return _decode(setup, setup.pick(256, 4), setup.pick(1024, 32), "bf16")


def decode_fp8(setup: Setup) -> Measured:
    weights = "int8" if setup.rehearse else "fp8"
    found = _decode(setup, 1, setup.pick(128, 16), weights, quantization=weights)
    return found | {"ratio": setup.before["decode_1"]["step_ms"] / found["step_ms"]}


def prefill(setup: Setup) -> Measured:
    """A prompt in one step."""
    from drive import Driver

    shape, length = setup.shape("8b"), setup.pick(16384, 64)
    driver = Driver(
        write_folder(shape, setup.folder / "8b"),
        room=length,
        device=setup.device,
        max_num_seqs=1,
        max_num_batched_tokens=length,
        max_model_len=2 * length,
        enforce_eager=True,  # as so large a step runs anyway; and no graph is recorded meanwhile
    )
    spent: list[float] = []
    until = time.perf_counter() + PREFILL_S
    while len(spent) < 8 and time.perf_counter() < until:
        spent.append(driver.prefill(1, length))
        driver.drop()
    driver.close()
    step = statistics.median(spent[2:] or spent)
    rate = shape.prefill_operations(length) / step
    return {"step_ms": step * 1e3, "tokens_per_s": length / step, "rate": rate, "share": rate / setup.rate("bf16")}


def overhead(setup: Setup) -> Measured:
    """The whole offline engine while all rows decode: how much of a step's time the device computes."""
    from penstock.config.compat import engine_args
    from penstock.config.resolve import resolve
    from penstock.engine.sync_engine import SyncEngine
    from penstock.params import SamplingParams

    batch, steps = setup.pick(256, 4), setup.pick(64, 4)
    options: dict[str, Any] = {"device": setup.device, "max_num_seqs": batch, "max_model_len": 2048}
    options |= {"load_format": "dummy", "compilation_config": {"cudagraph_capture_sizes": [batch]}}
    folder = write_folder(setup.shape("0.6b"), setup.folder / "0.6b")
    args = engine_args(model=str(folder), skip_tokenizer_init=True, use_tqdm_on_load=False, **options)
    engine = SyncEngine.from_config(resolve(args, usage="offline"))
    until = time.perf_counter() + setup.warm_s
    while engine.on_workers(lambda worker: worker.idle())[0] and time.perf_counter() < until:
        pass  # graphs are recorded, which would take some of the time that is measured
    params = SamplingParams(temperature=0, max_tokens=1900, ignore_eos=True, detokenize=False)
    for i in range(batch):
        ids = [10 + (i * 7 + j) % 900 for j in range(setup.pick(128, 8))]
        ((parsed, checked),) = engine.tokenize([{"prompt_token_ids": ids}])
        engine.add(parsed, checked, params)
    for _ in range(setup.pick(200, 4)):
        engine.step()

    def run(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            engine.step()
        return (time.perf_counter() - start) / count

    wall = statistics.median(run(steps) for _ in range(5))
    busy = _busy_s(setup, lambda: run(steps)) / steps
    engine.shutdown()
    return {"step_ms": wall * 1e3, "busy_ms": busy * 1e3, "share": busy / wall, "tokens_per_s": batch / wall}


def _busy_s(setup: Setup, work: Callable[[], object]) -> float:
    """Seconds in which the device computed anything, by torch's profiler."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU if setup.rehearse else ProfilerActivity.CUDA]) as prof:
        work()
    kind = "CPU" if setup.rehearse else "CUDA"
    spans = sorted((e.time_range.start, e.time_range.end) for e in prof.events() or () if e.device_type.name == kind)
    return union(spans) / 1e6


def union(spans: list[tuple[float, float]]) -> float:
    """How much the spans, by their beginnings, cover together."""
    covered, reached = 0.0, float("-inf")
    for start, end in spans:
        if end > reached:
            covered += end - max(start, reached)
            reached = end
    return covered


def start(setup: Setup) -> Measured:
    """From a process's beginning to its first token, with weights from the local disk."""
    began = time.perf_counter()
    folder = setup.folder / "checkpoint"
    size = write_checkpoint(setup.shape("8b"), folder, setup.device)
    found: Measured = {"bytes": size, "written_s": time.perf_counter() - began}
    for how in ("graphs", "eager"):
        found["cold"] = _drop_page_cache()
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", FIRST_TOKEN, str(folder), how, setup.device], check=True)
        # Both end a little behind the first token: when the process does.
        found[f"{how}_s"] = time.perf_counter() - began
    return found | {"seconds": found["graphs_s"]}


def _drop_page_cache() -> bool:
    """So that files are read from the disk; only root may."""
    subprocess.run(["sync"], check=False)
    try:
        Path("/proc/sys/vm/drop_caches").write_text("1")
    except OSError:
        return False
    return True


def attention(setup: Setup) -> Measured:
    """One layer's attention by every backend, in milliseconds, or why it refuses, and which is the fastest at what."""
    import torch

    from penstock.attention.base import AttentionSpec, HeadLayout
    from penstock.attention.select import BACKENDS

    shape, device = setup.shape("8b"), torch.device(setup.device)
    dim = shape.head_dim
    layout = HeadLayout(shape.num_attention_heads, shape.num_key_value_heads, dim, dim**-0.5, (None,))
    spec = AttentionSpec(layout, 16, torch.bfloat16, device, "bfloat16")
    found: Measured = {}
    others = ("packed", "torch_paged") if setup.rehearse else ()  # those are slow on a GPU, or not for it
    for name in (*others, "triton", "varlen", "flashinfer"):  # which may have to compile: the last
        try:
            kind = BACKENDS.get(name)
            refusal = kind.refusal(spec)
            if refusal is None:
                backend = kind(spec)
                found[name] = {case: _attend_ms(setup, backend, *rows) for case, rows in _cases(setup).items()}
            else:
                found[name] = refusal
        except Exception as e:  # one backend's failure is a result, too
            found[name] = f"{type(e).__name__}: {e}"
        print(json.dumps({name: found[name]}), flush=True)
    times = {name: cases for name, cases in found.items() if isinstance(cases, dict)}
    if times:
        best = {case: min((cases[case], name) for name, cases in times.items())[1] for case in _cases(setup)}
        found["fastest"] = ", ".join(f"{case}: {name}" for case, name in best.items())
        order = sorted((math.prod(cases.values()), name) for name, cases in times.items())
        found["order for measured.py"] = ", ".join(name for _, name in order)
    return found


def _cases(setup: Setup) -> dict[str, tuple[list[int], list[int]]]:
    """Name -> (tokens that run, context) of each row."""
    few, many, long = setup.pick(1, 1), setup.pick(256, 4), setup.pick(16384, 64)
    return {
        f"decode {few}x{long}": ([1] * few, [long] * few),
        f"decode {many}x{long // 16}": ([1] * many, [long // 16] * many),
        f"prefill {long}": ([long], [long]),
        f"chunk {long // 8} at {long}": ([long // 8], [long]),
    }


def _attend_ms(setup: Setup, backend: Any, runs: list[int], contexts: list[int]) -> float:
    import torch

    from penstock.attention.context import AttentionStep

    block, layout, device = backend.block_size, backend.layout, backend.device
    counts = [-(-context // block) for context in contexts]
    backend.allocate(1 + sum(counts))
    tables = torch.zeros(len(runs), max(counts), dtype=torch.int32)
    first, places = 1, []
    for row, (count, run, context) in enumerate(zip(counts, runs, contexts, strict=True)):
        tables[row, :count] = torch.arange(first, first + count)
        places.append(torch.arange(context - run, context))
        first += count
    rows = torch.repeat_interleave(torch.arange(len(runs)), torch.tensor(runs))
    positions = torch.cat(places)
    slots = tables[rows, positions // block].long() * block + positions % block
    step = AttentionStep(runs, contexts, tables.to(device), slots.to(device), positions.to(device))
    width = (layout.num_heads + 2 * layout.num_kv_heads) * layout.head_dim
    qkv = torch.randn(len(positions), width, device=device, dtype=torch.bfloat16)
    angles = tuple(torch.rand(len(positions), layout.head_dim // 2, device=device) for _ in range(2))
    with torch.inference_mode():
        bound = backend.bind(step)

        def work(pause: object = None) -> None:
            bound.attend(0, qkv.clone(), angles)

        try:  # recorded, so that it is the kernels that are measured and not their launches
            replay = _device(setup).graph(work).replay
        except RuntimeError:
            replay = work
        return 1e3 * _median_s(setup, replay)


ROWS: dict[str, Callable[[Setup], Measured]] = {
    f.__name__: f for f in (ceilings, decode_1, decode_256, prefill, decode_fp8, overhead, start, attention)
}


def main() -> int:
    key, results, rehearse = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), "--rehearse" in sys.argv
    before = {row["key"]: row["measured"] for row in results["rows"] if row["measured"] is not None}
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(ROWS[key](Setup(rehearse, before, Path(folder)))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
