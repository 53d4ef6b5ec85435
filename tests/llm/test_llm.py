"""LLM with the bundled model: prompts and conversations in, outputs in order, keywords checked."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from penstock import LLM, EngineArgs, SamplingParams
from penstock.engine.request_state import OpenRequest
from penstock.errors import ClientError, StartError, UnsupportedError
from penstock.params import RequestOutputKind

OPTIONS = {"max_model_len": 256, "num_gpu_blocks_override": 200, "cpu_threads": 1}
GREEDY = SamplingParams(temperature=0.0, max_tokens=8, ignore_eos=True)
CHAT = [{"role": "user", "content": "What is Penstock?"}]


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    made = LLM(**OPTIONS)
    yield made
    made.shutdown()


def texts(outputs: list[Any]) -> list[str]:
    return [o.outputs[0].text for o in outputs]


def test_outputs_come_in_the_order_of_prompts(llm: LLM, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = ["One", "Two words", "And three words"]
    lengths = [9, 3, 6]
    params = [GREEDY.clone(max_tokens=n) for n in lengths]
    outputs = llm.generate(prompts, params)
    assert [o.prompt for o in outputs] == prompts
    assert [len(o.outputs[0].token_ids) for o in outputs] == lengths
    assert all(o.finished and o.outputs[0].finish_reason == "length" for o in outputs)
    for output in outputs:
        assert output.outputs[0].text == llm.get_tokenizer().decode(output.outputs[0].token_ids)
    bar = capsys.readouterr().err
    assert "Processed prompts: 100%" in bar
    assert "est. speed input:" in bar
    assert texts(llm.generate(prompts[1], params[1], use_tqdm=False)) == [outputs[1].outputs[0].text]
    assert capsys.readouterr().err == ""


def test_all_forms_of_a_prompt_mean_the_same(llm: LLM) -> None:
    ids = llm.get_tokenizer().encode("The sky is")
    forms: list[Any] = [
        "The sky is",
        ["The sky is"],
        {"prompt": "The sky is"},
        {"prompt_token_ids": ids},
        ids,
        [ids],
        [{"prompt_token_ids": ids, "prompt": "The sky is"}],
    ]
    answers = {llm.generate(f, GREEDY, use_tqdm=False)[0].outputs[0].text for f in forms}
    assert len(answers) == 1
    assert llm.generate([], GREEDY, use_tqdm=False) == []


def test_chat_renders_the_models_template(llm: LLM) -> None:
    (output,) = llm.chat(CHAT, GREEDY, use_tqdm=False)
    tokenizer = llm.get_tokenizer()
    assert output.prompt == tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert output.prompt_token_ids == tokenizer.encode(output.prompt, add_special_tokens=False)
    two = llm.chat([CHAT, [*CHAT, {"role": "assistant", "content": "A server."}, *CHAT]], GREEDY, use_tqdm=False)
    assert two[0].outputs[0].token_ids == output.outputs[0].token_ids
    assert len(two[1].prompt_token_ids) > len(output.prompt_token_ids)
    (thinking,) = llm.chat(CHAT, GREEDY, use_tqdm=False, chat_template_kwargs={"enable_thinking": True})
    assert thinking.prompt != output.prompt
    (own,) = llm.chat(CHAT, GREEDY, use_tqdm=False, chat_template="Q: {{ messages[0].content }}")
    assert own.prompt == "Q: What is Penstock?"
    begun = [*CHAT, {"role": "assistant", "content": "It is"}]
    (more,) = llm.chat(begun, GREEDY, use_tqdm=False, add_generation_prompt=False, continue_final_message=True)
    assert more.prompt is not None
    assert more.prompt.endswith("It is")


def test_n_answers_logprobs_and_stop(llm: LLM) -> None:
    params = GREEDY.clone(n=2, temperature=1.0, seed=3, logprobs=1, prompt_logprobs=0, skip_special_tokens=False)
    (output,) = llm.generate("Count: 1 2 3", params, use_tqdm=False)
    assert [o.index for o in output.outputs] == [0, 1]
    assert output.outputs[0].token_ids != output.outputs[1].token_ids
    for answer in output.outputs:
        assert answer.logprobs is not None
        chosen = [p[i] for p, i in zip(answer.logprobs, answer.token_ids, strict=True)]
        assert answer.cumulative_logprob == pytest.approx(sum(p.logprob for p in chosen))
        assert "".join(p.decoded_token or "" for p in chosen) == answer.text
    assert output.prompt_logprobs is not None
    assert [p is None or i in p for p, i in zip(output.prompt_logprobs, output.prompt_token_ids, strict=True)]
    (plain,) = llm.generate("Count", GREEDY, use_tqdm=False)
    stop = plain.outputs[0].text[3:5]
    (stopped,) = llm.generate("Count", GREEDY.clone(stop=[stop]), use_tqdm=False)
    assert stopped.outputs[0].text == plain.outputs[0].text[: plain.outputs[0].text.index(stop)]


def test_sampling_repeats_from_one_start_to_the_next(llm: LLM) -> None:
    params = SamplingParams(temperature=2.0, max_tokens=24, ignore_eos=True)
    first, second = LLM(**OPTIONS, seed=5), LLM(**OPTIONS, seed=5)
    assert texts(first.generate(["a", "b"], params, use_tqdm=False)) == texts(
        second.generate(["a", "b"], params, use_tqdm=False)
    )
    again = texts(first.generate(["a", "a"], params, use_tqdm=False))
    assert again[0] != again[1]


def test_bad_requests_leave_nothing_behind(llm: LLM) -> None:
    with pytest.raises(ClientError, match=r"lengths of prompts \(2\) and params \(1\)"):
        llm.generate(["a", "b"], [GREEDY])
    with pytest.raises(ClientError, match="maximum context length"):
        llm.generate(["a", [1] * 300], GREEDY, use_tqdm=False)
    with pytest.raises(ClientError, match="logprobs"):
        llm.generate(["a", "b"], [GREEDY, GREEDY.clone(logprobs=99)], use_tqdm=False)
    assert llm.engine.num_unfinished == 0
    llm.engine.call("check_integrity")
    with pytest.raises(ClientError, match="must not be empty"):
        llm.chat([], GREEDY)


def test_an_interrupt_leaves_nothing_behind(llm: LLM) -> None:
    def interrupting(**options: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        llm.generate(["a", "b"], GREEDY, use_tqdm=interrupting)
    assert llm.engine.num_unfinished == 0
    assert len(llm.generate("a", GREEDY, use_tqdm=False)) == 1
    llm.engine.call("check_integrity")


def test_the_callers_parameters_are_not_changed(llm: LLM) -> None:
    params = SamplingParams(max_tokens=3)
    before = repr(params)
    llm.generate("a", params, use_tqdm=False)
    assert repr(params) == before
    assert params.output_kind is RequestOutputKind.CUMULATIVE


def test_defaults_and_prefix_cache(llm: LLM) -> None:
    defaults = llm.get_default_sampling_params()
    assert defaults is not llm.get_default_sampling_params()
    long = "word " * 200  # more than a block
    assert llm.generate(long, GREEDY, use_tqdm=False)[0].num_cached_tokens == 0
    assert (llm.generate(long, GREEDY, use_tqdm=False)[0].num_cached_tokens or 0) > 0
    assert llm.reset_prefix_cache() is True
    assert llm.generate(long, GREEDY, use_tqdm=False)[0].num_cached_tokens == 0


@pytest.mark.parametrize("method", ["encode", "embed", "classify", "reward", "score"])
def test_what_other_models_do_is_refused_in_a_sentence(llm: LLM, method: str) -> None:
    with pytest.raises(ClientError, match="runner='pooling'"):
        getattr(llm, method)(*["a", "b"][: 1 + (method == "score")])
    with pytest.raises(UnsupportedError, match="LoRA"):
        llm.generate("a", lora_request=object())  # type: ignore[arg-type]


def test_keywords() -> None:
    with pytest.raises(TypeError, match="max_model_len"):
        LLM(max_modle_len=5)
    with pytest.raises(StartError, match="tensor-parallel-size"):
        LLM(tensor_parallel_size=2)
    with pytest.raises(StartError, match="no/such/folder"):
        LLM("/no/such/folder")


def test_keywords_of_vllm_that_ask_for_nothing() -> None:
    args = EngineArgs(**OPTIONS)
    LLM.from_engine_args(args).close()
    LLM(**OPTIONS, tensor_parallel_size=1, quantization=None, trust_remote_code=False, dtype="float32").close()


def test_without_a_tokenizer() -> None:
    llm = LLM(**OPTIONS, skip_tokenizer_init=True)
    (output,) = llm.generate({"prompt_token_ids": [5, 6]}, GREEDY.clone(detokenize=False), use_tqdm=False)
    assert (output.outputs[0].text, len(output.outputs[0].token_ids)) == ("", 8)
    with pytest.raises(ClientError, match="no tokenizer"):
        llm.generate("text", GREEDY)
    with pytest.raises(ClientError, match="no tokenizer"):
        llm.get_tokenizer()
    llm.shutdown()


def test_threads_take_turns(llm: LLM) -> None:
    prompts = ["The capital of France is", "2 + 2 ="]
    alone = [o.outputs[0].token_ids for o in llm.generate(prompts, GREEDY, use_tqdm=False)]
    results: list[list[list[int]]] = []

    def work() -> None:
        results.append([o.outputs[0].token_ids for o in llm.generate(prompts, GREEDY, use_tqdm=False)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [alone] * 4


def test_an_interrupt_ends_generate_and_leaves_the_rest_in_order(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = llm.generate("The capital of France is", GREEDY, use_tqdm=False)[0].outputs[0].token_ids
    steps, step = itertools.count(), llm.engine.step

    def interrupted_step() -> list[OpenRequest]:
        if next(steps) == 5:
            signal.raise_signal(signal.SIGINT)
        return step()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores the signal
    with monkeypatch.context() as patched:
        patched.setattr(llm.engine, "step", interrupted_step)
        with pytest.raises(KeyboardInterrupt):
            llm.generate(["a"] * 64, GREEDY.clone(max_tokens=200), use_tqdm=False)
    assert next(steps) == 6, "it went on after the step in which the interrupt came"
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
    assert llm.engine.num_unfinished == 0
    llm.engine.call("check_integrity")
    assert llm.generate("The capital of France is", GREEDY, use_tqdm=False)[0].outputs[0].token_ids == alone


@pytest.mark.parametrize(
    ("prompts", "params", "message"),
    [
        (None, GREEDY, "prompts must be"),
        ([None], GREEDY, "a prompt must be"),
        ({"text": "a"}, GREEDY, "'text'"),
        ("a", {"temperature": 0}, "sampling_params must be SamplingParams"),
        (["a", "b"], [GREEDY], "must be the same"),
    ],
)
def test_wrong_input_is_named(llm: LLM, prompts: Any, params: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        llm.generate(prompts, params, use_tqdm=False)
    assert llm.engine.num_unfinished == 0
