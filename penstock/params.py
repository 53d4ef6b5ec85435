"""What a request may ask of the sampler. Validated on construction; every message names the parameter.

Knows no tokenizer and no model: limits that need them (vocabulary, context, text of bad words) are checked by
`engine/input_processor.py`. These structs cross the process boundary, so they hold only plain data.
"""

from __future__ import annotations

import enum
import math
from typing import Any

import msgspec

from penstock.errors import ClientError

MAX_SEQUENCES = 16384
# What a request's parameters may come to while it runs: its own fault, told by the sampler, and not known before.
NO_TOKEN_ALLOWED = "every token is forbidden by allowed_token_ids, bad_words, min_tokens or a constraint"
MAX_STOP_STRINGS = 64
MAX_PATTERN_SIZE = 1024
MAX_LOGPROB_IDS = 128
MAX_REPETITION_PENALTY = 1e6  # far beyond any use, and with its inverse well inside what float32 logits can bear
GREEDY_BELOW = 1e-5  # temperatures below this are greedy
LOWEST_TEMPERATURE = 0.01  # and those between are raised to this, which keeps the softmax in range

POOLING_TASKS = ("embed", "classify", "token_embed", "token_classify")

_NUMBERS = ("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty")
_INTEGERS = (
    *("n", "top_k", "min_tokens", "best_of", "seed", "max_tokens", "logprobs", "prompt_logprobs", "stream_interval"),
)


class RequestOutputKind(enum.IntEnum):
    """How much each output of a request repeats."""

    CUMULATIVE = 0  # everything so far, every time
    DELTA = 1  # only what is new
    FINAL_ONLY = 2  # one output, at the end


class SamplingType(enum.IntEnum):
    GREEDY = 0
    RANDOM = 1
    RANDOM_SEED = 2


class StructuredOutputsParams(msgspec.Struct, kw_only=True):
    """A constraint on the text: exactly one of the first six fields."""

    json: str | dict[str, Any] | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    structural_tag: str | None = None
    disable_any_whitespace: bool = False
    disable_additional_properties: bool = False
    whitespace_pattern: str | None = None

    def __post_init__(self) -> None:
        names = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")
        given = [n for n in names if getattr(self, n) is not None]
        if len(given) != 1:
            how = f"multiple are specified: {given}" if given else "none are specified"
            raise ClientError(f"exactly one of {', '.join(names)} is needed, but {how}", "structured_outputs")


class RepetitionDetectionParams(msgspec.Struct, kw_only=True):
    """End an answer that repeats a pattern of `min_pattern_size` to `max_pattern_size` tokens `min_count` times in a
    row. A `max_pattern_size` of 0 detects nothing."""

    max_pattern_size: int = 0
    min_pattern_size: int = 0
    min_count: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.min_pattern_size <= self.max_pattern_size <= MAX_PATTERN_SIZE:
            text = f"sizes of patterns must be 0 <= min_pattern_size <= max_pattern_size <= {MAX_PATTERN_SIZE}."
            raise ClientError(text, "repetition_detection")
        if self.max_pattern_size and not 2 <= self.min_count < 2**31:
            raise ClientError(f"min_count must be at least 2, got {self.min_count}.", "repetition_detection")


class ThinkingParams(msgspec.Struct, kw_only=True):
    """Where an answer's reasoning is, in token ids, none of the lists empty unless said.

    Attributes:
        opened: the answer begins inside reasoning; else it has some only if it begins with `start`.
        start: empty if `opened` is all there is to know.
        end: what comes after it is no reasoning.
        forced_end: ends with `end`; what the model is made to say when the budget is used up.
        budget: tokens of reasoning, not counting `start` and what is forced; None for no limit.
    """

    opened: bool
    start: list[int]
    end: list[int]
    forced_end: list[int]
    budget: int | None = None


class SamplingParams(msgspec.Struct, kw_only=True):
    """How to sample one request. Field names and defaults are vLLM's.

    `logprob_token_ids`: with `logprobs`, the log probabilities of these tokens, not those of the likeliest.
    `stream_interval`: hand out a running answer after the first token and then every so many; None for every token.

    Raises:
        ClientError: a value is out of range; the message and `param` name it.
    """

    n: int = 1
    best_of: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    logprob_token_ids: list[int] | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    include_stop_str_in_output: bool = False
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE
    structured_outputs: StructuredOutputsParams | None = None
    logit_bias: dict[int, float] | None = None
    allowed_token_ids: list[int] | None = None
    bad_words: list[str] | None = None
    stream_interval: int | None = None
    repetition_detection: RepetitionDetectionParams | None = None
    # Set by the server, not by users: special tokens that give text, whatever skip_special_tokens says of the others,
    # and where reasoning is: `structured_outputs` holds for what follows it.
    kept_special_token_ids: list[int] | None = None
    thinking: ThinkingParams | None = None
    use_beam_search: bool = False  # as in vLLM's older versions; refused
    # Set by the input processor, not by users: bad words as token ids, and the model's end-of-sequence ids.
    bad_words_token_ids: list[list[int]] | None = None
    eos_token_ids: list[int] = []

    def __post_init__(self) -> None:
        if self.use_beam_search:
            raise ClientError("beam search is not a kind of sampling: use LLM.beam_search.", "use_beam_search")
        if isinstance(self.stop, str):
            self.stop = [self.stop]
        self.stop = self.stop or []
        self.stop_token_ids = self.stop_token_ids or []
        self.bad_words = self.bad_words or []
        _check_types(self)
        self.top_k = 0 if self.top_k == -1 else self.top_k
        self.seed = None if self.seed == -1 else self.seed
        _check_ranges(self)
        _check_lists(self)
        if self.temperature < GREEDY_BELOW:
            if self.n > 1:
                raise ClientError(f"n must be 1 when using greedy sampling, got {self.n}.", "n")
            self.temperature, self.top_p, self.top_k, self.min_p = 0.0, 1.0, 0, 0.0
        elif self.temperature < LOWEST_TEMPERATURE:
            self.temperature = LOWEST_TEMPERATURE
        if self.logit_bias:
            self.logit_bias = {t: min(100.0, max(-100.0, b)) for t, b in self.logit_bias.items()}

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0

    @property
    def sampling_type(self) -> SamplingType:
        if self.greedy:
            return SamplingType.GREEDY
        return SamplingType.RANDOM if self.seed is None else SamplingType.RANDOM_SEED

    @property
    def all_stop_token_ids(self) -> set[int]:
        """Ids that end the request: `stop_token_ids`, and the model's end ids unless they are ignored."""
        return set(self.stop_token_ids or ()) | set(() if self.ignore_eos else self.eos_token_ids)

    @classmethod
    def from_optional(cls, **fields: Any) -> SamplingParams:
        """As the constructor, but None means the default."""
        keep_none = ("max_tokens",)
        return cls(**{k: v for k, v in fields.items() if v is not None or k in keep_none})

    def clone(self, **changes: Any) -> SamplingParams:
        """A copy with some fields changed; lists are shared with the original."""
        return msgspec.structs.replace(self, **changes)


class PoolingParams(msgspec.Struct, kw_only=True):
    """How to pool one request's hidden states. Field names and defaults are vLLM's.

    Attributes:
        task: embed, classify, token_embed or token_classify; None for the model's own.
        dimensions: keep the first so many of an embedding; for models that were trained for it.
        use_activation: normalize embeddings, make scores of logits; None for the model's own way. `normalize`,
            `softmax` and `activation` are older names of it.
        step_tag_id, returned_token_ids: over what the model's configuration says, for pooling by steps.
        skip_reading_prefix_cache: compute every token.

    Raises:
        ClientError: a value has a wrong type or is out of range; the message and `param` name it.
    """

    task: str | None = None
    dimensions: int | None = None
    use_activation: bool | None = None
    normalize: bool | None = None
    softmax: bool | None = None
    activation: bool | None = None
    step_tag_id: int | None = None
    returned_token_ids: list[int] | None = None
    requires_token_ids: bool = False
    skip_reading_prefix_cache: bool | None = None
    output_kind: RequestOutputKind = RequestOutputKind.FINAL_ONLY
    # Set by the engine's front, not by users: the place of the second text's first token, where there are two.
    second_segment: int | None = None

    def __post_init__(self) -> None:
        for name in ("use_activation", "normalize", "softmax", "activation", "skip_reading_prefix_cache"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, bool):
                raise ClientError(f"{name} must be true or false, got {value!r}.", name)
        for name in ("normalize", "softmax", "activation"):
            value = getattr(self, name)
            if value is not None:
                if self.use_activation not in (None, value):
                    raise ClientError(f"{name} and use_activation contradict each other.", name)
                self.use_activation = value
        if self.task is not None and self.task not in POOLING_TASKS:
            raise ClientError(f"task must be one of {', '.join(POOLING_TASKS)}, got {self.task!r}.", "task")
        for name in ("dimensions", "step_tag_id"):
            value = getattr(self, name)
            if value is not None and type(value) is not int:
                raise ClientError(f"{name} must be an integer, got {value!r}.", name)
        if self.dimensions is not None and self.dimensions < 1:
            raise ClientError(f"dimensions must be at least 1, got {self.dimensions}.", "dimensions")
        ids = self.returned_token_ids
        if ids is not None and not (isinstance(ids, list) and all(type(i) is int for i in ids)):
            raise ClientError("returned_token_ids must be a list of integers.", "returned_token_ids")

    def clone(self, **changes: Any) -> PoolingParams:
        """A copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)


class BeamSearchParams(msgspec.Struct, kw_only=True):
    """How to search for the likeliest answers. Field names and defaults are vLLM's, the last two transformers'.

    Attributes:
        beam_width: sequences that are followed at a time, and returned.
        temperature: without effect: the model's own probabilities decide.
        length_penalty: scores are sums of log probabilities divided by the number of generated tokens to this power.
        include_stop_str_in_output: leave the text of the token that ended an answer in its text.
        early_stopping: end when `beam_width` answers have ended (True), when a running one is not likely to become
            better than those (False), or when it cannot ("never").
        min_tokens: no answer ends before.

    Raises:
        ClientError: a value is out of range; the message and `param` name it.
    """

    beam_width: int
    max_tokens: int
    ignore_eos: bool = False
    temperature: float = 0.0
    length_penalty: float = 1.0
    include_stop_str_in_output: bool = False
    structured_outputs: StructuredOutputsParams | None = None
    skip_special_tokens: bool = True
    early_stopping: bool | str = False
    min_tokens: int = 0

    def __post_init__(self) -> None:
        for name in ("beam_width", "max_tokens"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ClientError(f"{name} must be an integer of at least 1, got {getattr(self, name)!r}.", name)
        if not isinstance(self.length_penalty, int | float) or not -100 <= self.length_penalty <= 100:
            raise ClientError(f"length_penalty must be in [-100, 100], got {self.length_penalty!r}.", "length_penalty")
        if self.early_stopping not in (True, False, "never"):
            text = f"early_stopping must be true, false or 'never', got {self.early_stopping!r}."
            raise ClientError(text, "early_stopping")
        if self.structured_outputs is not None:
            raise ClientError("structured outputs cannot be combined with beam search.", "structured_outputs")


def _check_types(p: SamplingParams) -> None:
    """What Python lets through: without this a wrong type shows up far from where it was written."""

    def need(ok: bool, param: str, what: str) -> None:
        if not ok:
            raise ClientError(f"{param} must be {what}, got {getattr(p, param)!r}.", param)

    for name in _NUMBERS:
        kind = type(getattr(p, name))
        need(kind is float or kind is int or (issubclass(kind, float | int) and kind is not bool), name, "a number")
    for name in _INTEGERS:
        value = getattr(p, name)
        unset = value is None and name not in ("n", "top_k", "min_tokens")
        need(unset or type(value) is int, name, "an integer")
    for name in ("stop", "bad_words"):
        value = getattr(p, name)
        need(isinstance(value, list | tuple) and all(isinstance(s, str) for s in value), name, "a list of strings")
    for name in ("stop_token_ids", "allowed_token_ids", "logprob_token_ids"):
        value = getattr(p, name)
        fits = isinstance(value, list | tuple) and all(type(i) is int for i in value)
        need(fits or (value is None and name != "stop_token_ids"), name, "a list of integers")
    if p.logit_bias is not None:
        try:
            p.logit_bias = {int(t): float(b) for t, b in p.logit_bias.items()}
        except (TypeError, ValueError, OverflowError, AttributeError):
            need(False, "logit_bias", "a dict of token ids and numbers")


def _check_ranges(p: SamplingParams) -> None:
    def need(ok: bool, param: str, rule: str, value: object) -> None:
        if not ok:
            raise ClientError(f"{param} {rule}, got {value}.", param)

    for name in _NUMBERS:
        value = getattr(p, name)
        need(math.isfinite(value), name, "must be a finite number", value)
    need(p.n >= 1, "n", "must be at least 1", p.n)
    need(p.n <= MAX_SEQUENCES, "n", f"must be at most {MAX_SEQUENCES}", p.n)
    need(p.best_of is None or p.best_of >= p.n, "best_of", f"must be at least n={p.n}", p.best_of)
    need(p.best_of is None or p.best_of <= MAX_SEQUENCES, "best_of", f"must be at most {MAX_SEQUENCES}", p.best_of)
    need(-2 <= p.presence_penalty <= 2, "presence_penalty", "must be in [-2, 2]", p.presence_penalty)
    need(-2 <= p.frequency_penalty <= 2, "frequency_penalty", "must be in [-2, 2]", p.frequency_penalty)
    need(p.repetition_penalty > 0, "repetition_penalty", "must be greater than zero", p.repetition_penalty)
    low, high = 1 / MAX_REPETITION_PENALTY, MAX_REPETITION_PENALTY
    need(
        low <= p.repetition_penalty <= high,
        "repetition_penalty",
        f"must be in [{low:g}, {high:g}]",
        p.repetition_penalty,
    )
    need(p.temperature >= 0, "temperature", "must be non-negative", p.temperature)
    need(p.temperature <= 2, "temperature", "must be in [0, 2]", p.temperature)
    need(0 < p.top_p <= 1, "top_p", "must be in (0, 1]", p.top_p)
    need(p.top_k >= 0, "top_k", "must be 0 (disable), or at least 1", p.top_k)
    need(0 <= p.min_p <= 1, "min_p", "must be in [0, 1]", p.min_p)
    need(p.seed is None or -(2**63) <= p.seed < 2**63, "seed", "must be a 64-bit integer", p.seed)
    need(p.max_tokens is None or p.max_tokens >= 1, "max_tokens", "must be at least 1", p.max_tokens)
    need(p.min_tokens >= 0, "min_tokens", "must be greater than or equal to 0", p.min_tokens)
    if p.max_tokens is not None:
        need(
            p.min_tokens <= p.max_tokens,
            "min_tokens",
            f"must be less than or equal to max_tokens={p.max_tokens}",
            p.min_tokens,
        )
    interval = p.stream_interval
    need(interval is None or interval >= 1, "stream_interval", "must be at least 1", interval)
    for name in ("logprobs", "prompt_logprobs"):
        value = getattr(p, name)
        need(value is None or value >= -1, name, "must be -1 (all), 0 or more", value)


def _check_lists(p: SamplingParams) -> None:
    stop = p.stop or []
    if len(stop) > MAX_STOP_STRINGS:
        raise ClientError(f"stop must hold at most {MAX_STOP_STRINGS} strings, got {len(stop)}.", "stop")
    if any(not s for s in stop):
        raise ClientError("stop cannot contain an empty string.", "stop")
    if stop and not p.detokenize:
        raise ClientError("stop strings need detokenize=True.", "stop")
    if any(not w for w in p.bad_words or ()):
        raise ClientError("bad_words cannot contain an empty string.", "bad_words")
    if p.allowed_token_ids is not None and not p.allowed_token_ids:
        raise ClientError("allowed_token_ids is not None and empty!", "allowed_token_ids")
    if p.logprob_token_ids and p.logprobs is None:
        raise ClientError("logprob_token_ids needs logprobs.", "logprob_token_ids")
    if len(p.logprob_token_ids or ()) > MAX_LOGPROB_IDS:
        raise ClientError(f"logprob_token_ids must hold at most {MAX_LOGPROB_IDS} ids.", "logprob_token_ids")
    for bias in (p.logit_bias or {}).values():
        if not math.isfinite(bias):
            raise ClientError(f"logit_bias must hold finite numbers, got {bias}.", "logit_bias")
