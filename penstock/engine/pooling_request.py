"""A caller's pooling request: checked, sent, and turned into its one output.

The twin of what `input_processor.py` and `request_state.py` do for requests that generate. Sends nothing itself.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from penstock.config.engine_config import EngineConfig
from penstock.config.pooling import PoolingConfig
from penstock.engine.input_processor import checked_salt
from penstock.engine.messages import AddRequest
from penstock.engine.request_state import Answer, OpenRequest
from penstock.errors import ClientError, ContextLengthError
from penstock.outputs import Floats, PoolingOutput, PoolingRequestOutput
from penstock.params import PoolingParams, RequestOutputKind, SamplingParams
from penstock.scheduler.plan import EngineOutput, FinishReason
from penstock.tokenizers.pair import CHARS_PER_TOKEN, LONG_CHARS, SPARE_TOKENS
from penstock.tokenizers.tokenizer import Tokenizer

# What the core is told about sampling where nothing is sampled.
_NO_SAMPLING = SamplingParams(max_tokens=1, seed=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY)


class Ids(NamedTuple):
    """What runs: token ids, and where the second of two texts begins."""

    token_ids: list[int]
    second_segment: int | None = None


class OpenPooling(OpenRequest):
    """An open pooling request. Its only answer holds no text."""

    __slots__ = ("pooled",)

    def __init__(self, request_id: str, token_ids: list[int], core_id: str, arrival_time: float):
        super().__init__(request_id, None, token_ids, _NO_SAMPLING, arrival_time, None)
        self.max_tokens = None
        self.pooled: Floats | None = None
        self.answers.append(_PooledAnswer(self, core_id))

    def take_pooled(self) -> PoolingRequestOutput | None:
        """The output, or None as long as there is none.

        Raises:
            PenstockError: the request failed.
        """
        if self.error is not None:
            raise self.error.with_traceback(None)
        if not self.finished:
            return None
        output = PoolingOutput(self.pooled)
        return PoolingRequestOutput(self.request_id, self.prompt_token_ids, output, True, self.num_cached_tokens)


class _PooledAnswer(Answer):
    __slots__ = ("_open",)

    def __init__(self, request: OpenPooling, core_id: str):
        super().__init__(request, 0, core_id, _NO_SAMPLING, None, at_start=True, show_logprobs=False)
        self._open = request

    def update(self, output: EngineOutput) -> bool:
        self._open.pooled = output.pooled
        if output.pooled is None and output.finish_reason is FinishReason.STOP:
            raise AssertionError("a pooling request ended without a result")
        return super().update(output)


class PoolingInputs:
    """Checks pooling requests and opens them.

    Args:
        config: of an engine that pools.
    """

    def __init__(self, config: EngineConfig):
        assert config.pooling is not None
        self._pooling: PoolingConfig = config.pooling
        shape = config.model.shape
        self._vocab_size = shape.vocab_size
        self._num_labels = shape.num_labels
        self._has_segments = shape.encoder is not None and shape.encoder.segments > 1
        self.max_model_len = config.model.max_model_len
        self._core_ids = itertools.count()

    def most_tokens(self, keep: int | None) -> int | None:
        """The number of tokens that `truncate_prompt_tokens` stands for.

        Raises:
            ClientError: it is out of range.
        """
        if keep is None:
            return None
        if keep < -1 or keep == 0:
            raise ClientError(f"truncate_prompt_tokens must be -1 or at least 1, got {keep}.", "truncate_prompt_tokens")
        if keep > self.max_model_len:
            raise ClientError(
                f"truncate_prompt_tokens={keep} cannot be greater than max_model_len={self.max_model_len}.",
                "truncate_prompt_tokens",
            )
        return self.max_model_len if keep == -1 else keep

    def complete(self, params: PoolingParams | None) -> PoolingParams:
        """A private copy with the model's part filled in.

        Raises:
            ClientError: the model cannot do it.
        """
        params = params or PoolingParams()
        task = params.task or self._pooling.tasks[0]
        if task not in self._pooling.tasks:
            known = ", ".join(self._pooling.tasks)
            raise ClientError(f"The model does not support the task {task!r}; it supports: {known}.", "task")
        if params.dimensions is not None:
            self._check_dimensions(params.dimensions, task)
        self._check_steps(params, task)
        whole = self._pooling.needs_all_rows(task)
        skip = bool(params.skip_reading_prefix_cache) or whole
        return params.clone(task=task, skip_reading_prefix_cache=skip)

    def _check_dimensions(self, dimensions: int, task: str) -> None:
        pooling = self._pooling
        if not task.endswith("embed"):
            raise ClientError("dimensions are for embeddings.", "dimensions")
        if not pooling.matryoshka:
            raise ClientError(
                "The model does not support Matryoshka embeddings: dimensions cannot be set.", "dimensions"
            )
        if pooling.allowed_dimensions and dimensions not in pooling.allowed_dimensions:
            known = ", ".join(map(str, pooling.allowed_dimensions))
            raise ClientError(f"dimensions must be one of {known}, got {dimensions}.", "dimensions")
        if dimensions > pooling.size:
            raise ClientError(f"dimensions must be at most {pooling.size}, got {dimensions}.", "dimensions")

    def _check_steps(self, params: PoolingParams, task: str) -> None:
        """Fields of pooling by steps."""
        for name in ("step_tag_id", "returned_token_ids"):
            if getattr(params, name) is not None and not (self._pooling.tokens == "step" and task == "token_classify"):
                raise ClientError(f"{name} is for models that pool by steps.", name)
        for column in params.returned_token_ids or ():
            if not 0 <= column < self._num_labels:
                raise ClientError(
                    f"returned_token_ids must be from 0 to {self._num_labels - 1}, got {column}.", "returned_token_ids"
                )

    def check_text(self, text: str, tokenizer: Tokenizer) -> None:
        """Refuse a text that is certainly too long before it is tokenized."""
        chars = tokenizer.max_chars_per_token
        least = -(-len(text) // chars) if chars else 0
        enough = max(LONG_CHARS, CHARS_PER_TOKEN * self.max_model_len)
        if not chars and len(text) > enough:  # its beginning says it, unless most of it gives no tokens
            least = len(tokenizer.encode(text[:enough], add_special_tokens=False)) - SPARE_TOKENS
        if least > self.max_model_len:
            raise self._too_long(f"at least {least}", "input_text", least)

    def _too_long(self, count: str, param: str, value: int) -> ContextLengthError:
        return ContextLengthError(
            f"This model's maximum context length is {self.max_model_len} tokens. However, your input has {count}. "
            "Please shorten it, or set truncate_prompt_tokens.",
            param,
            value,
        )

    def check_ids(self, ids: list[int]) -> None:
        """Refuse an empty input, one that does not fit, and ids outside the vocabulary."""
        if not ids:
            raise ClientError("The input cannot be empty.", "input")
        if len(ids) > self.max_model_len:
            raise self._too_long(str(len(ids)), "input_tokens", len(ids))
        worst = max(ids) if max(ids) >= self._vocab_size else min(ids)
        if not 0 <= worst < self._vocab_size:
            raise ClientError(f"Token id {worst} is out of vocabulary", "input")

    def open(
        self,
        request_id: str,
        ids: Ids,
        params: PoolingParams,
        *,
        arrival_time: float,
        priority: int = 0,
        cache_salt: str | None = None,
        deadline: float | None = None,
    ) -> tuple[OpenPooling, AddRequest]:
        """The request as the front keeps it, and what the core must be told.

        Args:
            ids: checked.
            params: from `complete`.
        """
        if not isinstance(priority, int) or not -(2**63) <= priority < 2**63:
            raise ClientError("priority must be a 64-bit integer.", "priority")
        request = OpenPooling(request_id, ids.token_ids, str(next(self._core_ids)), arrival_time)
        message = AddRequest(
            request.answers[0].core_id,
            ids.token_ids,
            _NO_SAMPLING,
            arrival_time,
            priority,
            checked_salt(cache_salt),
            deadline,
            params.clone(second_segment=ids.second_segment if self._has_segments else None),
        )
        return request, message
