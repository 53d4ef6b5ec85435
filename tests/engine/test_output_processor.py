"""From the core's outputs to what callers see: output kinds, slow readers, fan-out, logprobs, ends, statistics."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest
import tokenizer_makers

from penstock.engine.input_processor import InputProcessor
from penstock.engine.output_processor import OutputProcessor
from penstock.engine.request_state import OpenRequest
from penstock.errors import DeadlineError, EngineDeadError, EngineError
from penstock.observability.stats import StatsRecorder
from penstock.outputs import RequestOutput
from penstock.params import RequestOutputKind, SamplingParams
from penstock.scheduler.plan import EngineOutput, FinishReason, TokenLogprobs
from penstock.tokenizers.tokenizer import Tokenizer

TOKENIZER = Tokenizer(tokenizer_makers.byte_level(), {"eos_token": tokenizer_makers.EOS})
EOS_ID = TOKENIZER.eos_token_id
CUMULATIVE, DELTA, FINAL_ONLY = RequestOutputKind


class Front:
    """Input and output processing without a core: the test plays the core."""

    def __init__(self, tokenizer: Tokenizer | None = TOKENIZER) -> None:
        self.stats = StatsRecorder()
        self.inputs = InputProcessor(
            tokenizer, vocab_size=len(TOKENIZER), max_model_len=200, eos_token_ids=[EOS_ID or 0]
        )
        self.outputs = OutputProcessor(self.stats)
        self.now = 10.0

    def open(self, **params: Any) -> OpenRequest:
        own = self.inputs.complete_params(SamplingParams(**params))
        parsed = self.inputs.parse([5, 6, 7])
        request, messages = self.inputs.open_request("r", parsed, [5, 6, 7], own, arrival_time=self.now)
        assert [m.request_id for m in messages] == [a.core_id for a in request.answers]
        self.outputs.add(request)
        return request

    def core_says(self, request: OpenRequest, ids: list[int], answer: int = 0, **rest: Any) -> list[str]:
        self.now += 0.5
        core_id = request.answers[answer].core_id
        aborts = self.outputs.process([EngineOutput(core_id, ids, **rest)], self.now)
        self.outputs.tell()
        return aborts


def ids_of(text: str) -> list[int]:
    return TOKENIZER.encode(text, add_special_tokens=False)


def taken(request: OpenRequest) -> tuple[str, list[int]]:
    output = request.take()
    assert output is not None
    return output.outputs[0].text, output.outputs[0].token_ids


def test_delta_gives_what_is_new() -> None:
    front = Front()
    request = front.open(output_kind=DELTA)
    a, b, c = ids_of("the"), ids_of(" cat"), ids_of(" sat")
    front.core_says(request, a)
    assert taken(request) == ("the", a)
    assert request.take() is None
    front.core_says(request, b)
    front.core_says(request, c)  # the reader was slow: two steps in one output
    assert taken(request) == (" cat sat", b + c)
    front.core_says(request, [EOS_ID], finish_reason=FinishReason.STOP)
    last = request.take()
    assert last is not None
    assert (last.finished, last.outputs[0].finish_reason, last.outputs[0].text) == (True, "stop", "")
    assert last.outputs[0].token_ids == [EOS_ID]


def test_an_interval_holds_tokens_together() -> None:
    """The first token comes at once, the others by threes, the rest with the end."""
    front = Front()
    calls: list[int] = []
    request = front.open(output_kind=DELTA, stream_interval=3)
    request.on_output = lambda: calls.append(1)
    ids = ids_of("the cat sat on the mat and the dog")[:7]
    seen = []
    for i, token_id in enumerate(ids):
        front.core_says(request, [token_id], finish_reason=FinishReason.LENGTH if i == 6 else None)
        output = request.take()
        if output is not None:
            seen.append(output.outputs[0].token_ids)
    assert seen == [ids[:1], ids[1:4], ids[4:7]]
    assert len(calls) == 3


def test_cumulative_repeats_everything() -> None:
    front = Front()
    request = front.open()
    a, b = ids_of("the"), ids_of(" cat")
    front.core_says(request, a)
    first = request.take()
    front.core_says(request, b)
    assert taken(request) == ("the cat", a + b)
    assert first is not None
    assert first.outputs[0].token_ids == a  # an output given out does not change any more


def test_final_only_says_nothing_before_the_end() -> None:
    front = Front()
    calls: list[int] = []
    request = front.open(output_kind=FINAL_ONLY)
    request.on_output = lambda: calls.append(1)
    a, b = ids_of("the"), ids_of(" cat")
    front.core_says(request, a)
    assert (request.take(), calls) == (None, [])
    front.core_says(request, b, finish_reason=FinishReason.LENGTH)
    assert (taken(request), calls) == (("the cat", a + b), [1])
    assert front.outputs.num_unfinished == 0


@pytest.mark.parametrize("kind", list(RequestOutputKind))
def test_a_stop_string_ends_the_request_and_aborts_it_in_the_core(kind: RequestOutputKind) -> None:
    front = Front()
    request = front.open(output_kind=kind, stop="cat")
    ids = ids_of("the") + ids_of(" cat") + ids_of(" sat")
    aborts = front.core_says(request, ids)
    assert aborts == [request.answers[0].core_id]
    assert front.outputs.num_unfinished == 0
    output = request.take()
    assert output is not None
    answer = output.outputs[0]
    assert (answer.text, answer.finish_reason, answer.stop_reason, output.finished) == ("the ", "stop", "cat", True)
    assert TOKENIZER.decode(answer.token_ids) == "the cat"
    assert (
        front.core_says(request, [1], finish_reason=FinishReason.LENGTH) == []
    )  # what the core still sends is ignored


def test_a_stop_string_in_the_cores_last_output_needs_no_abort() -> None:
    front = Front()
    request = front.open(stop="cat")
    assert front.core_says(request, ids_of("the cat"), finish_reason=FinishReason.LENGTH) == []
    assert taken(request)[0] == "the "
    assert request.answers[0].finish_reason == "stop"


@pytest.mark.parametrize("kind", [CUMULATIVE, FINAL_ONLY])
def test_the_token_that_stops_gives_no_text(kind: RequestOutputKind) -> None:
    front = Front()
    cat = ids_of(" cat")
    for include, text in ((False, "the"), (True, "the cat")):
        request = front.open(stop_token_ids=cat, include_stop_str_in_output=include, output_kind=kind)
        front.core_says(request, ids_of("the"))
        front.core_says(request, cat, finish_reason=FinishReason.STOP, stop_reason=cat[0])
        assert taken(request) == (text, ids_of("the") + cat)
        assert request.answers[0].stop_reason == cat[0]


def test_held_back_text_comes_with_the_end() -> None:
    front = Front()
    request = front.open(stop=" catalogue", output_kind=DELTA)
    front.core_says(request, ids_of("the cat"))
    assert taken(request)[0] == ""
    front.core_says(request, [EOS_ID], finish_reason=FinishReason.STOP)
    assert taken(request)[0] == "the cat"


def test_n_answers_under_one_request() -> None:
    front = Front()
    request = front.open(n=2, output_kind=DELTA, seed=2**63 - 1)
    assert front.outputs.num_unfinished == 2
    front.core_says(request, ids_of("the"), answer=1)
    output = request.take()
    assert output is not None
    assert [(o.index, o.text) for o in output.outputs] == [(1, "the")]
    front.core_says(request, ids_of("a"), answer=0, finish_reason=FinishReason.LENGTH)
    output = request.take()
    assert output is not None
    assert ([o.index for o in output.outputs], output.finished) == ([0], False)
    front.core_says(request, ids_of("b"), answer=1, finish_reason=FinishReason.LENGTH)
    output = request.take()
    assert output is not None
    assert ([(o.index, o.text) for o in output.outputs], output.finished) == ([(1, "b")], True)


def test_n_answers_at_the_end() -> None:
    front = Front()
    request = front.open(n=2, output_kind=FINAL_ONLY)
    front.core_says(request, ids_of("b"), answer=1, finish_reason=FinishReason.LENGTH)
    assert request.take() is None
    front.core_says(request, ids_of("a"), answer=0, finish_reason=FinishReason.LENGTH)
    output = request.take()
    assert output is not None
    assert [(o.index, o.text) for o in output.outputs] == [(0, "a"), (1, "b")]


def test_children_have_seeds_in_a_row() -> None:
    front = Front()
    own = front.inputs.complete_params(SamplingParams(n=3, seed=2**63 - 2))
    _, messages = front.inputs.open_request("r", front.inputs.parse([5]), [5], own, arrival_time=0.0)
    assert [m.params.seed for m in messages] == [2**63 - 2, 2**63 - 1, -(2**63)]
    assert [m.params.n for m in messages] == [1, 1, 1]


@pytest.mark.parametrize("logprobs", [None, 1])
def test_best_of_returns_the_likeliest(logprobs: int | None) -> None:
    front = Front()
    request = front.open(n=2, best_of=3, logprobs=logprobs)
    assert len(request.answers) == 3
    for answer, (text, value) in enumerate([("a", -3.0), ("b", -1.0), ("c", -2.0)]):
        assert request.take() is None
        entry = TokenLogprobs(ids_of(text), [value], 1)
        front.core_says(request, ids_of(text), answer, logprobs=[entry], finish_reason=FinishReason.LENGTH)
    output = request.take()
    assert output is not None
    assert [(o.index, o.text) for o in output.outputs] == [(0, "b"), (1, "c")]
    assert (output.outputs[0].logprobs is None) == (logprobs is None)
    assert output.outputs[0].cumulative_logprob == (None if logprobs is None else -1.0)


def test_logprobs_are_dicts_with_texts() -> None:
    front = Front()
    request = front.open(logprobs=2, output_kind=DELTA)
    the, cat, dog = ids_of("the")[0], ids_of(" cat")[0], ids_of(" dog")[0]
    front.core_says(request, [cat], logprobs=[TokenLogprobs([cat, the, cat], [-2.0, -1.0, -2.0], 2)])
    output = request.take()
    assert output is not None
    assert output.outputs[0].logprobs is not None
    (position,) = output.outputs[0].logprobs
    assert [(t, p.logprob, p.rank, p.decoded_token) for t, p in position.items()] == [
        (cat, -2.0, 2, " cat"),
        (the, -1.0, 1, "the"),
    ]
    front.core_says(request, [dog], logprobs=[TokenLogprobs([dog, the, cat], [-4.0, -1.0, -2.0], 9)])
    output = request.take()
    assert output is not None
    assert output.outputs[0].logprobs is not None
    assert [p.rank for p in output.outputs[0].logprobs[0].values()] == [9, 1, 2]
    assert output.outputs[0].cumulative_logprob == -6.0


def test_texts_of_sampled_tokens_together_are_the_text() -> None:
    front = Front()
    request = front.open(logprobs=0, output_kind=FINAL_ONLY)
    by_byte = {TOKENIZER.token_bytes(i): i for i in range(len(TOKENIZER))}
    ids = [by_byte[bytes([b])] for b in "a\u4f60\U0001f600b".encode()]
    for i in ids[:-1]:
        front.core_says(request, [i], logprobs=[TokenLogprobs([i], [-1.0], 1)])
    front.core_says(request, ids[-1:], logprobs=[TokenLogprobs(ids[-1:], [-1.0], 1)], finish_reason=FinishReason.LENGTH)
    output = request.take()
    assert output is not None
    assert output.outputs[0].logprobs is not None
    texts = [p[i].decoded_token for p, i in zip(output.outputs[0].logprobs, ids, strict=True)]
    assert texts == ["a", "", "", "\u4f60", "", "", "", "\U0001f600", "b"]


def test_prompt_logprobs_come_in_parts() -> None:
    front = Front()
    request = front.open(prompt_logprobs=1, output_kind=DELTA)
    front.core_says(request, [], prompt_logprobs=[TokenLogprobs([6, 9], [-1.0, -0.5], 2)], num_cached_tokens=0)
    assert request.take() is None
    front.core_says(request, [8], prompt_logprobs=[TokenLogprobs([7, 7], [-2.0, -2.0], 1)])
    output = request.take()
    assert output is not None
    assert output.prompt_logprobs is not None
    assert output.prompt_logprobs[0] is None
    assert [list(p) for p in output.prompt_logprobs[1:] if p] == [[6, 9], [7]]
    front.core_says(request, [8])
    output = request.take()
    assert output is not None
    assert output.prompt_logprobs is None


def test_failed_requests_raise() -> None:
    front = Front()
    late, failed = front.open(n=2), front.open()
    front.core_says(late, ids_of("a"), answer=0)
    aborts = front.core_says(late, [], answer=1, finish_reason=FinishReason.TIMEOUT)
    assert aborts == [late.answers[0].core_id]  # its other answer is of no use any more
    front.core_says(failed, [], finish_reason=FinishReason.ERROR, error="secret path /home/x")
    with pytest.raises(DeadlineError):
        late.take()
    with pytest.raises(EngineError, match="failed while") as e:
        failed.take()
    assert "secret" not in str(e.value)
    assert (front.outputs.num_unfinished, front.outputs._by_request_id) == (0, {})


def test_what_breaks_on_one_output_ends_that_request_alone() -> None:
    front = Front()
    broken, fine = front.open(logprobs=1), front.open()
    outputs = [
        EngineOutput(broken.answers[0].core_id, [5], logprobs=[TokenLogprobs([], [], 1)]),
        EngineOutput(fine.answers[0].core_id, ids_of("the")),
    ]
    assert front.outputs.process(outputs, front.now) == [broken.answers[0].core_id]
    with pytest.raises(EngineError, match="failed while"):
        broken.take()
    assert taken(fine)[0] == "the"
    assert front.outputs.num_unfinished == 1


def test_abort_by_the_callers_id() -> None:
    front = Front()
    first, second = front.open(output_kind=DELTA), front.open(n=2)
    front.core_says(first, ids_of("the"))
    aborts = front.outputs.abort_ids(["r", "unknown"], front.now)
    assert sorted(aborts) == sorted(a.core_id for r in (first, second) for a in r.answers)
    output = first.take()
    assert output is not None
    assert (output.finished, output.outputs[0].finish_reason, output.outputs[0].text) == (True, "abort", "the")
    assert front.outputs.abort_ids(["r"], front.now) == []
    assert front.outputs._by_request_id == {}


def test_a_dead_core_fails_everything() -> None:
    front = Front()
    requests = [front.open(), front.open(n=3)]
    front.outputs.fail_all(EngineDeadError("gone"), front.now)
    for request in requests:
        with pytest.raises(EngineDeadError, match="gone"):
            request.take()
    assert (front.outputs.num_unfinished, front.outputs.num_prefill_tokens) == (0, 0)


def test_prefill_backlog_and_statistics() -> None:
    front = Front()
    request = front.open(max_tokens=7)
    assert front.outputs.num_prefill_tokens == 3
    front.core_says(request, [5], num_cached_tokens=2, scheduled_time=10.25)
    assert front.outputs.num_prefill_tokens == 0
    front.core_says(request, [6, 7])
    front.core_says(request, [8], finish_reason=FinishReason.LENGTH)
    stats = front.stats
    assert (stats.ttft.count, stats.ttft.total) == (1, 0.5)
    assert (stats.inter_token_latency.count, stats.inter_token_latency.total) == (3, 1.0)
    assert (stats.prompt_tokens, stats.cached_prompt_tokens, stats.generation_tokens) == (3, 2, 4)
    assert stats.requests_finished["length"] == 1
    assert (stats.e2e.total, stats.queue_time.total, stats.prefill_time.total, stats.decode_time.total) == (
        *(1.5, 0.25, 0.25, 1.0),
    )
    output = request.take()
    assert output is not None
    assert output.num_cached_tokens == 2
    metrics = output.metrics
    assert metrics is not None
    assert (metrics.arrival_time, metrics.scheduled_time, metrics.first_token_time) == (10.0, 10.25, 10.5)
    assert (metrics.last_token_time, metrics.finished_time) == (11.5, 11.5)


def test_statistics_of_a_request_with_several_answers() -> None:
    front = Front()
    request = front.open(n=2, max_tokens=7)
    assert front.stats.waiting == 2
    front.core_says(request, [5, 6, 7], answer=0, finish_reason=FinishReason.STOP, num_preemptions=1)
    front.core_says(request, [5], answer=1, finish_reason=FinishReason.LENGTH, num_preemptions=2)
    stats = front.stats
    assert (stats.request_generation_tokens.total, stats.request_longest_answer.total) == (4, 3)
    assert (stats.request_n.total, stats.request_preemptions.total) == (2, 3)


def test_without_a_tokenizer_there_are_only_ids() -> None:
    front = Front(tokenizer=None)
    request = front.open(logprobs=1)
    front.core_says(request, [5], logprobs=[TokenLogprobs([5, 6], [-1.0, -2.0], 1)], finish_reason=FinishReason.LENGTH)
    output: RequestOutput | None = request.take()
    assert output is not None
    assert (output.outputs[0].text, output.outputs[0].token_ids) == ("", [5])
    assert output.outputs[0].logprobs is not None
    assert output.outputs[0].logprobs[0][6].decoded_token is None


def test_an_output_costs_the_same_however_many_are_open() -> None:
    def calls_per_output(num_open: int) -> int:
        front = Front()
        requests = [front.open(output_kind=DELTA) for _ in range(num_open)]
        front.core_says(requests[0], ids_of("a"))
        taken(requests[0])
        count = 0

        def profile(frame: FrameType, event: str, arg: object) -> None:
            nonlocal count
            count += event == "call"

        sys.setprofile(profile)
        try:
            front.core_says(requests[0], ids_of("b"))
            taken(requests[0])
        finally:
            sys.setprofile(None)
        return count

    assert calls_per_output(3000) <= calls_per_output(3)
