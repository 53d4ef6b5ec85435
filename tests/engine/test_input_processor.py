"""Every refusal names the request field; what passes is complete for the core, and the caller's objects stay."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import tokenizer_makers

from penstock.engine.input_processor import InputProcessor
from penstock.engine.messages import AddRequest
from penstock.errors import ClientError, ContextLengthError, UnsupportedError
from penstock.params import RequestOutputKind, SamplingParams, StructuredOutputsParams
from penstock.tokenizers.tokenizer import Tokenizer

TOKENIZER = Tokenizer(tokenizer_makers.byte_level(), {"eos_token": tokenizer_makers.EOS})
FALLBACK = Tokenizer(tokenizer_makers.sentencepiece())
VOCAB = 500


def processor(tokenizer: Tokenizer | None = TOKENIZER, **changes: Any) -> InputProcessor:
    return InputProcessor(tokenizer, **{"vocab_size": VOCAB, "max_model_len": 20, **changes})


def opened(inputs: InputProcessor, ids: list[int], params: SamplingParams | None = None, **rest: Any) -> AddRequest:
    parsed = inputs.parse(ids)
    _, messages = inputs.open_request("r", parsed, ids, inputs.complete_params(params), arrival_time=1.0, **rest)
    return messages[0]


def test_forms_of_prompts() -> None:
    parse = processor().parse
    assert parse("a") == ("a", None, None)
    assert parse([1, 2]) == (None, [1, 2], None)
    assert parse((1, 2)) == (None, [1, 2], None)
    assert parse({"prompt": "a", "cache_salt": "s"}) == ("a", None, "s")
    assert parse({"prompt_token_ids": [1], "prompt": "a"}) == ("a", [1], None)
    assert parse({"prompt_token_ids": [True]}) == (None, [1], None)
    ids = [1, 2]
    assert parse(ids).token_ids is not ids


@pytest.mark.parametrize(
    "prompt", [5, None, {"prompt": 5}, {}, ["a"], [1.5], {"prompt_token_ids": "12"}, {"prompt_token_ids": [[1]]}]
)
def test_other_forms_are_refused(prompt: Any) -> None:
    with pytest.raises(ClientError) as e:
        processor().parse(prompt)
    assert e.value.param == "prompt"


def test_media_prompts_are_not_supported() -> None:
    with pytest.raises(UnsupportedError, match="multi_modal_data"):
        processor().parse({"prompt": "a", "multi_modal_data": {}})
    assert processor().parse({"prompt": "a", "multi_modal_data": None}).text == "a"


@pytest.mark.parametrize("salt", ["", "a" * 129, "a@b", "a/b", "a\\b", "a\0", "\ud800", 5])
def test_bad_salts(salt: Any) -> None:
    with pytest.raises(ClientError) as e:
        processor().parse({"prompt": "a", "cache_salt": salt})
    assert e.value.param == "cache_salt"
    with pytest.raises(ClientError):
        opened(processor(), [1], cache_salt=salt)


def test_ids_are_checked() -> None:
    inputs = processor()
    inputs.check_ids([0, VOCAB - 1])
    for ids, says in (([], "cannot be empty"), ([VOCAB], f"{VOCAB} is out"), ([1, -1], "-1 is out")):
        with pytest.raises(ClientError, match=says) as e:
            inputs.check_ids(ids)
        assert e.value.param == "prompt"


def test_the_prompt_must_leave_room() -> None:
    processor().check_ids([1] * 19)
    says = r"This model's maximum context length is 20 tokens\. However, your prompt contains 20 input tokens"
    with pytest.raises(ContextLengthError, match=says) as e:
        processor().check_ids([1] * 20)
    assert e.value.param == "input_tokens"
    with pytest.raises(ContextLengthError, match=r"contains at least \d+ input tokens") as e:
        processor().check_text("a" * 100_000)
    assert e.value.param == "input_text"
    processor().check_text("a" * 100_000, truncated=True)


def test_truncation_keeps_the_end() -> None:
    inputs = processor()
    ids = list(range(30))
    assert inputs.truncate(ids, None) == ids
    assert inputs.truncate(ids, 3) == [27, 28, 29]
    assert inputs.truncate(ids, -1) == ids[-19:]
    for keep in (0, -2, 21):
        with pytest.raises(ClientError) as e:
            inputs.truncate(ids, keep)
        assert e.value.param == "truncate_prompt_tokens"


BAD_PARAMS = [
    ({"logprobs": 21}, "logprobs", r"Requested sample logprobs of 21, which is greater than max allowed: 20"),
    ({"logprobs": -1}, "logprobs", r"Requested sample logprobs of the whole vocabulary"),
    ({"prompt_logprobs": 21}, "prompt_logprobs", r"Requested prompt logprobs of 21"),
    ({"stop_token_ids": [1, 500]}, "stop_token_ids", r"token_id\(s\) \[500\] in stop_token_ids .* size: 500"),
    ({"logit_bias": {-1: 1.0}}, "logit_bias", r"token_id\(s\) \[-1\] in logit_bias"),
    ({"allowed_token_ids": [500]}, "allowed_token_ids", "out-of-vocab"),
    ({"stop": ["\ud800"]}, None, "surrogates"),
    ({"ignore_eos": "no"}, "ignore_eos", "bool"),
    ({"bad_words": [f"w{i}" for i in range(70)]}, "bad_words", "at most 128"),
    ({"bad_words": ["w" * 40_000] * 2}, "bad_words", "65536 characters"),
    ({"n": 2, "best_of": 3, "output_kind": RequestOutputKind.DELTA}, "best_of", "cannot be streamed"),
    ({"structured_outputs": StructuredOutputsParams(regex="")}, "structured_outputs", "empty string"),
    ({"structured_outputs": StructuredOutputsParams(choice=[])}, "structured_outputs", "empty list"),
]


@pytest.mark.parametrize(("fields", "param", "says"), BAD_PARAMS)
def test_bad_parameters_are_named(fields: dict[str, Any], param: str | None, says: str) -> None:
    params = SamplingParams(**fields)
    with pytest.raises(ClientError, match=says) as e:
        processor().complete_params(params)
    assert e.value.param == param


def test_text_needs_a_tokenizer() -> None:
    inputs = processor(None)
    with pytest.raises(ClientError, match="no tokenizer"):
        inputs.need_tokenizer()
    for fields in ({"stop": "a"}, {"bad_words": ["a"]}):
        with pytest.raises(ClientError, match="needs a tokenizer") as e:
            inputs.complete_params(SamplingParams(**fields))
        assert e.value.param in fields


def test_all_logprobs_where_the_server_allows_it() -> None:
    assert processor(max_logprobs=-1).complete_params(SamplingParams(logprobs=-1)).logprobs == VOCAB


def test_what_the_core_gets_is_complete() -> None:
    given = SamplingParams(max_tokens=None, min_tokens=0, temperature=1)
    before = msgspec.structs.asdict(given)
    message = opened(processor(eos_token_ids=[3, 4]), [5] * 12, given, priority=2, cache_salt="s", deadline=9.0)
    assert msgspec.structs.asdict(given) == before
    assert (message.params.max_tokens, message.params.eos_token_ids) == (8, [3, 4])
    assert isinstance(message.params.seed, int)
    assert (message.priority, message.cache_salt, message.deadline) == (2, "s", 9.0)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=AddRequest)
    assert again == message


def test_max_tokens_is_cut_to_the_room() -> None:
    message = opened(processor(), [5] * 12, SamplingParams(max_tokens=1000, min_tokens=500))
    assert (message.params.max_tokens, message.params.min_tokens) == (8, 8)


def test_the_tokenizers_end_is_used_if_the_model_names_none() -> None:
    assert opened(processor(), [5]).params.eos_token_ids == [TOKENIZER.eos_token_id]


def test_seeds_come_in_a_repeatable_stream() -> None:
    def seeds(seed: int) -> list[int | None]:
        inputs = processor(seed=seed)
        return [opened(inputs, [5], SamplingParams()).params.seed for _ in range(3)]

    assert seeds(0) == seeds(0)
    assert len({*seeds(0), *seeds(1)}) == 6
    assert opened(processor(), [5], SamplingParams(seed=11)).params.seed == 11


def test_priorities_are_checked() -> None:
    for priority in (2**63, "high"):
        with pytest.raises(ClientError) as e:
            opened(processor(), [5], priority=priority)
        assert e.value.param == "priority"


@pytest.mark.parametrize("tokenizer", [TOKENIZER, FALLBACK])
def test_bad_words_cover_starts_and_insides(tokenizer: Tokenizer) -> None:
    sequences = processor(tokenizer).complete_params(SamplingParams(bad_words=["cat", " dog"])).bad_words_token_ids
    assert sequences is not None
    for text in ("cat", " cat", " dog"):
        assert tokenizer.encode(text, add_special_tokens=False) in sequences
    assert not any(i in tokenizer.special_ids for s in sequences for i in s)
    with pytest.raises(ClientError, match="at most 128"):
        processor(tokenizer).complete_params(SamplingParams(bad_words=[f"word {i}" for i in range(2000)]))


def test_best_of_without_chance_is_dropped() -> None:
    assert processor().complete_params(SamplingParams(best_of=3, temperature=0.0)).best_of is None
    assert processor().complete_params(SamplingParams(n=2, best_of=2)).best_of == 2


def test_model_defaults() -> None:
    inputs = processor(defaults={"temperature": 0.5, "top_k": 7})
    params = inputs.default_sampling_params()
    assert (params.temperature, params.top_k, params.max_tokens) == (0.5, 7, 16)
    assert inputs.complete_params(None).top_k == 7
