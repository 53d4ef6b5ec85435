"""InputProcessor: a caller's prompt and parameters become checked ids and parameters for the core.

All limits that need the model or the tokenizer are checked here; every refusal is a ClientError that names the request
field. Fan-out into one core request per answer is here too. Sends nothing.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import msgspec

from penstock.config.engine_config import ModelConfig, StructuredConfig
from penstock.engine.messages import AddRequest
from penstock.engine.request_state import Answer, OpenRequest
from penstock.errors import ClientError, ContextLengthError, UnsupportedError
from penstock.params import RequestOutputKind, SamplingParams, StructuredOutputsParams
from penstock.structured.check import ConstraintCheck
from penstock.tokenizers.tokenizer import Tokenizer

Prompt = str | Sequence[int] | Mapping[str, Any]

MAX_BAD_WORD_SEQUENCES = 128
MAX_BAD_WORD_CHARS = 1 << 16  # they are tokenized on the event loop
MAX_SALT_CHARS = 128
_PROMPT_KEYS = {"prompt", "prompt_token_ids", "cache_salt"}


class ParsedPrompt(NamedTuple):
    """A prompt taken apart: text, or ids, or both (then the ids run)."""

    text: str | None
    token_ids: list[int] | None
    cache_salt: str | None


class InputProcessor:
    """Checks and completes requests.

    Args:
        tokenizer: None if there is none (--skip-tokenizer-init).
        vocab_size: rows of the model's embedding.
        max_logprobs: most alternatives a request may ask for; -1 for the whole vocabulary.
        eos_token_ids: ids that end an answer.
        defaults: sampling values that replace SamplingParams' own.
        seed: from which requests without a seed get theirs, one after the other.
        structured: what holds for all structured outputs.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | None,
        *,
        vocab_size: int,
        max_model_len: int,
        max_logprobs: int = 20,
        eos_token_ids: Sequence[int] = (),
        defaults: Mapping[str, Any] | None = None,
        seed: int = 0,
        structured: StructuredConfig | None = None,
    ):
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._max_model_len = max_model_len
        self._max_logprobs = vocab_size if max_logprobs == -1 else max_logprobs
        self._defaults = dict(defaults or {})
        self._seed = seed
        self._drawn = itertools.count()
        self._core_ids = itertools.count()
        self._eos_token_ids = end_token_ids(eos_token_ids, tokenizer)
        self._structured = structured or StructuredConfig()
        self._constraint_check = ConstraintCheck()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(SamplingParams)

    @classmethod
    def for_model(
        cls, model: ModelConfig, tokenizer: Tokenizer | None, structured: StructuredConfig | None = None
    ) -> InputProcessor:
        """With a configuration's values."""
        return cls(
            tokenizer,
            vocab_size=model.shape.vocab_size,
            max_model_len=model.max_model_len,
            max_logprobs=model.max_logprobs,
            eos_token_ids=model.eos_token_ids,
            defaults=model.generation_defaults,
            seed=model.seed,
            structured=structured,
        )

    def default_sampling_params(self) -> SamplingParams:
        """Sampling parameters with the model's own defaults."""
        return SamplingParams.from_optional(**self._defaults)

    # Prompts

    def parse(self, prompt: Prompt) -> ParsedPrompt:
        """Take a prompt apart and check its form.

        Raises:
            ClientError: it is none of the known forms.
        """
        if isinstance(prompt, str):
            return ParsedPrompt(prompt, None, None)
        if isinstance(prompt, Mapping):
            unknown = [k for k in prompt if k not in _PROMPT_KEYS and prompt[k] is not None]
            if unknown:
                raise UnsupportedError(f"prompts of this model cannot have {unknown[0]!r}.", "prompt")
            text, ids = prompt.get("prompt"), prompt.get("prompt_token_ids")
            if ids is None and not isinstance(text, str):
                raise ClientError("a prompt object needs a string `prompt` or a list `prompt_token_ids`.", "prompt")
            salt = checked_salt(prompt.get("cache_salt"))
            return ParsedPrompt(text, None if ids is None else _int_list(ids), salt)
        return ParsedPrompt(None, _int_list(prompt), None)

    def need_tokenizer(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            ClientError: there is none.
        """
        if self._tokenizer is None:
            raise ClientError("there is no tokenizer (skip_tokenizer_init): send the prompt as token ids.", "prompt")
        return self._tokenizer

    def check_text(self, text: str, truncated: bool = False) -> None:
        """Refuse a text that is certainly too long before it is tokenized."""
        chars = None if truncated else self.need_tokenizer().max_chars_per_token
        if chars and len(text) > chars * self._max_model_len:
            raise self._too_long(-(-len(text) // chars), "at least ", "input_text")

    def truncate(self, ids: list[int], keep: int | None) -> list[int]:
        """The last `keep` ids; -1 keeps as many as leave room for one more token.

        Raises:
            ClientError: `keep` is out of range.
        """
        if keep is None:
            return ids
        if keep < -1 or keep == 0:
            raise ClientError(f"truncate_prompt_tokens must be -1 or at least 1, got {keep}.", "truncate_prompt_tokens")
        if keep > self._max_model_len:
            raise ClientError(
                f"truncate_prompt_tokens={keep} cannot be greater than max_model_len={self._max_model_len}.",
                "truncate_prompt_tokens",
            )
        return ids[-(self._max_model_len - 1 if keep == -1 else keep) :]

    def check_ids(self, ids: list[int]) -> None:
        """Refuse an empty prompt, ids outside the vocabulary, and a prompt that leaves no room for an answer."""
        if not ids:
            raise ClientError("The decoder prompt cannot be empty", "prompt")
        if len(ids) >= self._max_model_len:
            raise self._too_long(len(ids), "", "input_tokens")
        worst = max(ids) if max(ids) >= self._vocab_size else min(ids)
        if not 0 <= worst < self._vocab_size:
            raise ClientError(f"Token id {worst} is out of vocabulary", "prompt")

    def _too_long(self, count: int, about: str, param: str) -> ContextLengthError:
        return ContextLengthError(
            f"This model's maximum context length is {self._max_model_len} tokens. However, your prompt contains "
            f"{about}{count} input tokens, which leaves no room for an answer. Please shorten the prompt.",
            param,
            count,
        )

    # Parameters

    def complete_params(self, params: SamplingParams | None) -> SamplingParams:
        """A private, checked copy with the model's part filled in; the seed and what depends on the prompt is open.

        Raises:
            ClientError: a value has a wrong type, or the model cannot do it.
        """
        if params is None:
            params = self.default_sampling_params()
        try:
            own = self._decoder.decode(self._encoder.encode(params))
        except (msgspec.ValidationError, TypeError, OverflowError, UnicodeError, RecursionError) as e:
            raise _wrong_type(e) from e
        if own.structured_outputs is not None:
            self._complete_constraint(own.structured_outputs)
        self._check_logprobs(own)
        self._check_vocabulary(own)
        if self._tokenizer is None and (own.stop or own.bad_words):
            name = "stop" if own.stop else "bad_words"
            raise ClientError(f"{name} needs a tokenizer, and there is none (skip_tokenizer_init).", name)
        own.eos_token_ids = self._eos_token_ids
        if own.bad_words:
            own.bad_words_token_ids = self._bad_words(own.bad_words)
        if own.best_of is not None and own.best_of > own.n:
            if own.greedy:
                own.best_of = None  # all would be the same
            elif own.output_kind is RequestOutputKind.DELTA:
                raise ClientError("best_of greater than n cannot be streamed.", "best_of")
        return own

    def _complete_constraint(self, constraint: StructuredOutputsParams) -> None:
        if self._tokenizer is None:
            raise ClientError(
                "structured outputs need a tokenizer, and there is none (skip_tokenizer_init).", "structured_outputs"
            )
        constraint.disable_any_whitespace |= self._structured.disable_any_whitespace
        constraint.disable_additional_properties |= self._structured.disable_additional_properties
        self._constraint_check.known(constraint)

    def begin_check(self, params: SamplingParams) -> Future[None] | None:
        """Begin `check_constraint` on a thread of its own; None if there is nothing to check."""
        constraint = params.structured_outputs
        if constraint is None or self._constraint_check.known(constraint):
            return None
        return self._constraint_check.begin(constraint)

    def check_constraint(self, params: SamplingParams) -> None:
        """The part of the checks that may take a second: compile a constraint. May run on any thread.

        Args:
            params: from `complete_params`.

        Raises:
            ClientError: it is malformed, or too costly.
        """
        if params.structured_outputs is not None:
            self._constraint_check.check(params.structured_outputs)

    def _check_logprobs(self, p: SamplingParams) -> None:
        for name, word in (("logprobs", "sample"), ("prompt_logprobs", "prompt")):
            asked = getattr(p, name)
            count = self._vocab_size if asked == -1 else asked
            if count is not None and count > self._max_logprobs:
                raise ClientError(
                    f"Requested {word} logprobs of {'the whole vocabulary' if asked == -1 else asked}, "
                    f"which is greater than max allowed: {self._max_logprobs}",
                    name,
                    asked,
                )
            setattr(p, name, count)

    def _check_vocabulary(self, p: SamplingParams) -> None:
        for name in ("stop_token_ids", "logit_bias", "logprob_token_ids"):
            bad = [i for i in getattr(p, name) or () if not 0 <= i < self._vocab_size]
            if bad:
                raise ClientError(
                    f"token_id(s) {bad[:10]} in {name} contain out-of-vocab token ids. "
                    f"Vocabulary size: {self._vocab_size}",
                    name,
                    bad[:10],
                )
        if any(not 0 <= i < self._vocab_size for i in p.allowed_token_ids or ()):
            raise ClientError("allowed_token_ids contains out-of-vocab token id!", "allowed_token_ids")

    def _bad_words(self, words: Sequence[str]) -> list[list[int]]:
        """Every word as it is tokenized at the start of a text and inside one, after a space."""
        tokenizer = self.need_tokenizer()
        if sum(map(len, words)) > MAX_BAD_WORD_CHARS:
            raise ClientError(f"bad_words may have {MAX_BAD_WORD_CHARS} characters in all.", "bad_words")
        sequences: list[list[int]] = []
        for word in dict.fromkeys(words):
            for text in (word, " " + word.lstrip()):
                ids = tokenizer.encode(text, add_special_tokens=False)
                if ids and ids not in sequences:
                    sequences.append(ids)
            if len(sequences) > MAX_BAD_WORD_SEQUENCES:  # at once: a long list would hold up the event loop
                raise ClientError(
                    f"bad_words may make at most {MAX_BAD_WORD_SEQUENCES} token sequences; these make more.",
                    "bad_words",
                )
        return sequences

    # Requests

    def open_request(
        self,
        request_id: str,
        prompt: ParsedPrompt,
        ids: list[int],
        params: SamplingParams,
        *,
        arrival_time: float,
        priority: int = 0,
        cache_salt: str | None = None,
        deadline: float | None = None,
    ) -> tuple[OpenRequest, list[AddRequest]]:
        """The request as the front keeps it, and what the core must be told: one message per answer.

        Args:
            ids: checked prompt ids.
            params: from `complete_params`, for this request alone; completed here.
        """
        if not isinstance(priority, int) or not -(2**63) <= priority < 2**63:
            raise ClientError("priority must be a 64-bit integer.", "priority")
        room = self._max_model_len - len(ids)
        params.max_tokens = room if params.max_tokens is None else min(params.max_tokens, room)
        params.min_tokens = min(params.min_tokens, params.max_tokens)
        if params.seed is None:
            params.seed = self._next_seed()
        tokenizer = self._tokenizer if params.detokenize else None
        count = params.best_of or params.n
        request = OpenRequest(request_id, prompt.text, ids, params, arrival_time, self._tokenizer)
        show_logprobs = params.logprobs is not None
        hidden = self._tokenizer.special_ids if self._tokenizer is not None else frozenset()
        at_start = all(i in hidden for i in ids)
        salt = checked_salt(cache_salt) or prompt.cache_salt
        messages = []
        for index in range(count):
            own = params if count == 1 else self._child(params, index, count)
            core_id = str(next(self._core_ids))
            answer = Answer(request, index, core_id, own, tokenizer, at_start=at_start, show_logprobs=show_logprobs)
            request.answers.append(answer)
            messages.append(AddRequest(core_id, ids, own, arrival_time, priority, salt, deadline))
        return request, messages

    def _child(self, params: SamplingParams, index: int, count: int) -> SamplingParams:
        assert params.seed is not None
        rank_by_logprob = count > params.n and params.logprobs is None
        return params.clone(
            n=1,
            best_of=None,
            seed=(params.seed + index + 2**63) % 2**64 - 2**63,
            logprobs=0 if rank_by_logprob else params.logprobs,
        )

    def _next_seed(self) -> int:
        """The next of a stream of seeds that depends on the engine's seed alone."""
        draw = f"{self._seed}/{next(self._drawn)}".encode()
        return int.from_bytes(hashlib.blake2b(draw, digest_size=8).digest(), "little", signed=True)


def end_token_ids(of_model: Sequence[int], tokenizer: Tokenizer | None) -> list[int]:
    """The ids that end an answer: those of the model's configuration, else the tokenizer's."""
    if of_model or tokenizer is None or tokenizer.eos_token_id is None:
        return list(of_model)
    return [tokenizer.eos_token_id]


def _int_list(ids: Any) -> list[int]:
    """Token ids as a list of plain integers."""
    if hasattr(ids, "tolist"):
        ids = ids.tolist()
    if not isinstance(ids, (list, tuple)):
        raise ClientError("a prompt must be a string, a list of token ids, or an object with one of them.", "prompt")
    if set(map(type, ids)) <= {int}:
        return list(ids)
    try:
        return [i.__index__() for i in ids]
    except AttributeError:
        raise ClientError("prompt_token_ids must be a list of integers.", "prompt") from None


def checked_salt(salt: Any) -> str | None:
    """A caller's namespace of the prefix cache, None for none.

    Raises:
        ClientError: it is not of the allowed form.
    """
    if salt is None:
        return None
    usual = isinstance(salt, str) and 0 < len(salt) <= MAX_SALT_CHARS and not any(c in "@/\\\0" for c in salt)
    if not usual or any("\ud800" <= c <= "\udfff" for c in salt):
        raise ClientError(
            f"cache_salt must be a string of 1 to {MAX_SALT_CHARS} characters without '@', '/', '\\' or NUL.",
            "cache_salt",
        )
    return salt


def _wrong_type(error: Exception) -> ClientError:
    """A type error of msgspec, with the field's name taken from its path ("... - at `$.top_k`")."""
    if isinstance(error.__cause__, ClientError):
        return error.__cause__
    text, _, path = str(error).partition(" - at `$.")
    name = path.rstrip("`").split("[")[0] or None
    return ClientError(f"{name or 'sampling parameters'}: {text}", name)
