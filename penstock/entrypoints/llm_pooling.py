"""What `LLM.encode`, `embed`, `classify` and `score` do: texts to ids, requests to the engine, outputs in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from penstock.engine.input_processor import ParsedPrompt, Prompt
from penstock.engine.pooling_request import Ids
from penstock.engine.sync_engine import SyncEngine
from penstock.entrypoints.pairs import cosine, paired, rendered_pair
from penstock.errors import ClientError
from penstock.outputs import (
    ClassificationOutput,
    ClassificationRequestOutput,
    EmbeddingOutput,
    EmbeddingRequestOutput,
    PoolingOutput,
    PoolingRequestOutput,
    ScoringOutput,
    ScoringRequestOutput,
)
from penstock.params import PoolingParams
from penstock.tokenizers.chat_template import ChatTemplate
from penstock.tokenizers.pair import Bounds, encode_inputs

Progress = bool | Callable[..., Any]
Out = TypeVar("Out", bound=PoolingRequestOutput)
Run = Callable[[Sequence[tuple[Ids, PoolingParams]], Progress], list[PoolingRequestOutput]]


class OfflinePooling:
    """Pools for one call.

    Args:
        engine: of a model that pools.
        run: sends requests through it and waits.
        add_special_tokens: put the model's own tokens around texts.
        truncate: most tokens of an input; -1 for what fits, None for an error where one is longer.

    Raises:
        ClientError: the model generates.
    """

    def __init__(self, engine: SyncEngine, run: Run, *, add_special_tokens: bool = True, truncate: int | None = None):
        if engine.pooling is None or engine.config.pooling is None:
            raise ClientError(
                "This model generates text; pooling needs a pooling model, or runner='pooling' to make it one.", "model"
            )
        self._engine = engine
        self._inputs = engine.pooling
        self._config = engine.config.pooling
        self._run = run
        self._special = add_special_tokens
        self._bounds = Bounds(most=engine.pooling.most_tokens(truncate), lowercase=engine.config.pooling.lowercase)

    def encode(
        self,
        prompts: Sequence[Prompt],
        params: Sequence[PoolingParams | None],
        task: str | None,
        use_tqdm: Progress,
    ) -> list[PoolingRequestOutput]:
        """Tensors."""
        import torch  # the engine has it in this process already

        outputs = self._pool(self._ids(prompts), params, task, use_tqdm)
        for output in outputs:
            floats = output.outputs.data
            values = torch.frombuffer(bytearray(floats.raw), dtype=torch.float32) if floats.raw else torch.empty(0)
            output.outputs = PoolingOutput(values.view(floats.shape))
        return outputs

    def embed(
        self, prompts: Sequence[Prompt], params: Sequence[PoolingParams | None], use_tqdm: Progress
    ) -> list[EmbeddingRequestOutput]:
        outputs = self._pool(self._ids(prompts), params, "embed", use_tqdm)
        return [_as(EmbeddingRequestOutput, o, EmbeddingOutput(o.outputs.data.tolist())) for o in outputs]

    def classify(
        self, prompts: Sequence[Prompt], params: Sequence[PoolingParams | None], use_tqdm: Progress
    ) -> list[ClassificationRequestOutput]:
        outputs = self._pool(self._ids(prompts), params, "classify", use_tqdm)
        return [_as(ClassificationRequestOutput, o, ClassificationOutput(o.outputs.data.tolist())) for o in outputs]

    def score(
        self,
        first: Sequence[Prompt],
        second: Sequence[Prompt],
        params: PoolingParams | None,
        template: ChatTemplate | None,
        use_tqdm: Progress,
    ) -> list[ScoringRequestOutput]:
        """By a classifier of pairs with one label, or by the angle between embeddings."""
        pairs = paired(first, second)
        if "embed" in self._config.tasks:
            return self._cosines(pairs, len(first), params, use_tqdm)
        if "classify" not in self._config.tasks or len(self._config.labels) != 1:
            raise ClientError("Scoring needs a model that embeds, or one that classifies with one label.", "model")
        ids = self._pair_ids(pairs, template)
        outputs = self._pool(ids, [params] * len(ids), "classify", use_tqdm)
        return [_as(ScoringRequestOutput, o, ScoringOutput(o.outputs.data.tolist()[0])) for o in outputs]

    def _cosines(
        self,
        pairs: Sequence[tuple[Prompt, Prompt]],
        count: int,
        params: PoolingParams | None,
        use_tqdm: Progress,
    ) -> list[ScoringRequestOutput]:
        first, second = [a for a, _ in pairs[:count]], [b for _, b in pairs]
        embedded = self._pool(self._ids(first + second), [params] * (count + len(pairs)), "embed", use_tqdm)
        scored = []
        for i, other in enumerate(embedded[count:]):
            one = embedded[i if count > 1 else 0]
            score = cosine(one.outputs.data.tolist(), other.outputs.data.tolist())
            ids = one.prompt_token_ids + other.prompt_token_ids
            scored.append(ScoringRequestOutput(other.request_id, ids, ScoringOutput(score)))
        return scored

    def _pool(
        self, ids: Sequence[Ids], params: Sequence[PoolingParams | None], task: str | None, use_tqdm: Progress
    ) -> list[PoolingRequestOutput]:
        completed = []
        for own in params:
            if own is not None and not isinstance(own, PoolingParams):
                raise ClientError(f"pooling_params must be PoolingParams, not {own!r}.", "pooling_params")
            own = own or PoolingParams()
            if task is not None and own.task not in (None, task):
                raise ClientError(f"pooling_params say {own.task!r}, where {task!r} was called for.", "task")
            completed.append(self._inputs.complete(own.clone(task=task or own.task)))
        for one in ids:
            self._inputs.check_ids(one.token_ids)
        return self._run(list(zip(ids, completed, strict=True)), use_tqdm)

    def _ids(self, prompts: Sequence[Prompt]) -> list[Ids]:
        parsed = [self._engine.parse(p) for p in prompts]
        texts = [_text(p) for p in parsed if p.token_ids is None]
        encoded = iter(self._encoded(texts, None, self._special) if texts else ())
        return [next(encoded) if p.token_ids is None else Ids(p.token_ids[: self._bounds.most]) for p in parsed]

    def _pair_ids(self, pairs: Sequence[tuple[Prompt, Prompt]], template: ChatTemplate | None) -> list[Ids]:
        parsed = [(self._engine.parse(a), self._engine.parse(b)) for a, b in pairs]
        if any(p.token_ids is not None for pair in parsed for p in pair):
            raise ClientError("Pairs are scored as texts, not as token ids.", "prompt")
        texts = [(_text(a), _text(b)) for a, b in parsed]
        if template is not None:
            return self._encoded([rendered_pair(template, a, b) for a, b in texts], None, False)
        return self._encoded([a for a, _ in texts], [b for _, b in texts], self._special)

    def _encoded(self, texts: Sequence[str], seconds: Sequence[str] | None, special: bool) -> list[Ids]:
        bounds = self._bounds._replace(special=special)
        return [Ids(*e) for e in encode_inputs(self._engine.need_tokenizer(), texts, seconds, bounds)]


def _text(prompt: ParsedPrompt) -> str:
    assert prompt.text is not None
    return prompt.text


def _as(kind: type[Out], output: PoolingRequestOutput, result: Any) -> Out:
    return kind(output.request_id, output.prompt_token_ids, result, True, output.num_cached_tokens)
