"""The rest of vLLM's offline surface: prompts that wait, workers within reach, counts, the engine by steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from penstock import LLM, LLMEngine, RequestOutputKind, SamplingParams
from penstock.errors import ClientError
from penstock.observability.snapshot import Counter, Gauge, Histogram

OPTIONS: dict[str, Any] = {"max_model_len": 256, "num_gpu_blocks_override": 200, "cpu_threads": 1}
GREEDY = SamplingParams(temperature=0.0, max_tokens=6, ignore_eos=True)
PROMPTS = ["The capital of France is", "Once", "2 + 2 ="]
CHAT = [{"role": "user", "content": "What is Penstock?"}]


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    made = LLM(**OPTIONS, disable_log_stats=False)
    yield made
    made.shutdown()


def tokens(outputs: list[Any]) -> list[list[int]]:
    return [o.outputs[0].token_ids for o in outputs]


def test_prompts_may_wait(llm: LLM) -> None:
    alone = tokens(llm.generate(PROMPTS, GREEDY, use_tqdm=False))
    answer = tokens(llm.chat(CHAT, GREEDY, use_tqdm=False))
    ids = llm.enqueue(PROMPTS[:2], GREEDY)
    ids += llm.enqueue(PROMPTS[2], GREEDY) + llm.enqueue_chat(CHAT, GREEDY)
    assert len(set(ids)) == 4
    # Others come between: what waits runs beside them, and is kept.
    assert tokens(llm.generate(PROMPTS[1], GREEDY.clone(max_tokens=20), use_tqdm=False))[0][:6] == alone[1]
    outputs = llm.wait_for_completion(use_tqdm=False)
    assert [o.request_id for o in outputs] == ids
    assert tokens(outputs) == alone + answer
    assert llm.wait_for_completion(use_tqdm=False) == []
    with pytest.raises(ClientError):
        llm.enqueue(["a", ""], GREEDY)
    assert llm.engine.num_unfinished == 0


def test_how_texts_become_tokens(llm: LLM) -> None:
    ids = llm.get_tokenizer().encode("one two three four five six")
    for keep, want in ((3, ids[-3:]), (-1, ids), (100, ids)):
        settings = {"truncate_prompt_tokens": keep}
        (output,) = llm.generate("one two three four five six", GREEDY, use_tqdm=False, tokenization_kwargs=settings)
        assert output.prompt_token_ids == want
    long = "word " * 1000  # more than the context
    (output,) = llm.chat(
        [{"role": "user", "content": long}], GREEDY, False, tokenization_kwargs={"truncate_prompt_tokens": -1}
    )
    assert len(output.prompt_token_ids) == 255
    with pytest.raises(ClientError, match="padding"):
        llm.generate("a", tokenization_kwargs={"padding": True})


def test_workers_and_models_are_within_reach(llm: LLM) -> None:
    assert llm.collective_rpc("describe")[0]["platform"] == "cpu"
    assert llm.collective_rpc(lambda worker, x, y: (type(worker).__name__, x + y), args=(1,), kwargs={"y": 2}) == [
        ("Worker", 3)
    ]
    (names,) = llm.apply_model(lambda model: [name for name, _ in model.named_modules()])
    assert len(names) > 10
    with pytest.raises(ClientError, match="no method 'nothing'"):
        llm.collective_rpc("nothing")
    assert llm.get_world_size() == 1


def test_what_has_been_counted(llm: LLM) -> None:
    def count(name: str) -> int:
        (found,) = [m for m in llm.get_metrics() if m.name == f"penstock:{name}"]
        assert isinstance(found, Counter)
        return found.value

    before = count("generation_tokens"), count("prompt_tokens")
    (output,) = llm.generate(PROMPTS[0], GREEDY, use_tqdm=False)
    assert count("generation_tokens") == before[0] + 6
    assert count("prompt_tokens") == before[1] + len(output.prompt_token_ids)
    found = {m.name: m for m in llm.get_metrics()}
    running, latency = found["penstock:num_requests_running"], found["penstock:e2e_request_latency_seconds"]
    assert isinstance(running, Gauge)
    assert running.value == 0
    assert isinstance(latency, Histogram)
    assert latency.count == latency.buckets["+Inf"] > 0
    assert latency.sum > 0


def test_nothing_is_counted_unless_asked_for() -> None:
    plain = LLM(**OPTIONS, load_format="dummy")
    with pytest.raises(ClientError, match="disable_log_stats=False"):
        plain.get_metrics()
    plain.shutdown()


def test_the_engine_by_steps(llm: LLM) -> None:
    alone = tokens(llm.generate(PROMPTS, GREEDY, use_tqdm=False))
    engine = LLMEngine(llm.engine)
    for i, prompt in enumerate(PROMPTS):
        kind = list(RequestOutputKind)[i]
        assert engine.add_request(f"r{i}", prompt, GREEDY.clone(output_kind=kind)) == f"r{i}"
    engine.add_request("gone", "Once", GREEDY.clone(max_tokens=200))
    with pytest.raises(ClientError, match="already"):
        engine.add_request("r0", "again", GREEDY)
    seen: dict[str, list[list[int]]] = {}
    while engine.has_unfinished_requests():
        for output in engine.step():
            seen.setdefault(output.request_id, []).append(list(output.outputs[0].token_ids))
        engine.abort_request("gone")
    assert seen["r0"][-1] == alone[0]  # cumulative
    assert [len(ids) for ids in seen["r0"]] == [1, 2, 3, 4, 5, 6]
    assert [i for ids in seen["r1"] for i in ids] == alone[1]  # what is new
    assert seen["r2"] == [alone[2]]  # at the end
    assert engine.get_num_unfinished_requests() == llm.engine.num_unfinished == 0
    assert engine.step() == []
