"""POST /score and /rerank: how well texts fit together, by a classifier of pairs or by the angle between embeddings."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from penstock.config.pooling import PoolingConfig
from penstock.engine.pooling_request import Ids
from penstock.entrypoints.openai.body import read_body
from penstock.entrypoints.openai.front import Front
from penstock.entrypoints.openai.pooled import (
    MAX_INPUTS,
    bounds_of,
    ids_of_texts,
    params_of,
    pooled,
    pooling_of,
    prompt_tokens,
)
from penstock.entrypoints.openai.pooling_types import (
    PoolingFields,
    RankedData,
    RankedDocument,
    RerankAnswer,
    RerankRequest,
    RerankUsage,
    ScoreAnswer,
    ScoredData,
    ScoreRequest,
    Texts,
)
from penstock.entrypoints.openai.service import Service
from penstock.entrypoints.pairs import cosine, pair_messages, paired, rendered_pair
from penstock.errors import ClientError
from penstock.outputs import PoolingRequestOutput
from penstock.tokenizers.chat_template import ChatTemplate
from penstock.tokenizers.pair import Bounds

_score_decoder = msgspec.json.Decoder(ScoreRequest, strict=False)
_rerank_decoder = msgspec.json.Decoder(RerankRequest, strict=False)
_encode = msgspec.json.Encoder().encode

NAMES = (("text_1", "text_2"), ("data_1", "data_2"), ("queries", "documents"), ("queries", "items"))


async def score(request: Request, front: Front) -> Response:
    """A score for every pair."""
    service = front.service
    body = await read_body(request, _score_decoder)
    model = service.check_model(body.model)
    first, second = _two_sides(body)
    public_id = "score-" + service.public_id(request, body)
    scorer = Scorer(request, body, service, body.chat_template, public_id)
    scores = await scorer.scores(first, second)
    answer = ScoreAnswer(
        id=public_id,
        created=int(time.time()),
        model=model,
        data=[ScoredData(index=i, score=s) for i, s in enumerate(scores)],
        usage=service.usage(scorer.tokens, 0, scorer.cached),
    )
    return Response(_encode(answer), media_type="application/json")


async def rerank(request: Request, front: Front) -> Response:
    """Documents by their score with a query, the best first."""
    service = front.service
    body = await read_body(request, _rerank_decoder)
    model = service.check_model(body.model)
    if body.top_n is not None and body.top_n < 0:
        raise ClientError(f"top_n must be at least 0, got {body.top_n}.", "top_n")
    query, documents = _texts([body.query], "query"), _texts(body.documents, "documents")
    public_id = "rerank-" + service.public_id(request, body)
    scorer = Scorer(request, body, service, body.chat_template, public_id, body.max_tokens_per_doc)
    scores = await scorer.scores(query, documents)
    order = sorted(range(len(scores)), key=lambda i: -scores[i])[: body.top_n or None]
    shows = body.return_documents is not False
    answer = RerankAnswer(
        id=public_id,
        model=model,
        usage=RerankUsage(prompt_tokens=scorer.tokens, total_tokens=scorer.tokens),
        results=[
            RankedData(
                index=i,
                document=RankedDocument(text=documents[i]) if shows else None,
                relevance_score=scores[i],
            )
            for i in order
        ],
        meta={"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    )
    return Response(_encode(answer), media_type="application/json")


class Scorer:
    """Scores pairs for one request.

    Args:
        template: a chat template of the request's own.
        most_second: tokens of the second text of a pair.

    Attributes:
        tokens, cached: of what ran.

    Raises:
        ClientError: the model cannot score.
    """

    def __init__(
        self,
        request: Request,
        body: PoolingFields,
        service: Service,
        template: str | None,
        public_id: str,
        most_second: int | None = None,
    ):
        self._pooling: PoolingConfig = pooling_of(service, "scoring")
        embeds = "embed" in self._pooling.tasks
        if not embeds and not ("classify" in self._pooling.tasks and len(self._pooling.labels) == 1):
            raise ClientError(
                "The model does not support scoring: that takes embeddings, or a classifier with one label.", "model"
            )
        if most_second is not None and most_second < 1:
            raise ClientError(f"max_tokens_per_doc must be at least 1, got {most_second}.", "max_tokens_per_doc")
        bounds = bounds_of(body, service)
        self._embeds = embeds
        self._bounds: Bounds = bounds._replace(most_second=most_second)
        self._request, self._body, self._service, self._public_id = request, body, service, public_id
        self._template = _pair_template(service, template)
        self._strangers_template = template is not None
        self.tokens = self.cached = 0

    async def scores(self, first: list[str], second: list[str]) -> list[float]:
        """One with one, one with many, or pair by pair."""
        pairs = paired(first, second)
        if len(pairs) > MAX_INPUTS:
            raise ClientError(f"at most {MAX_INPUTS} pairs can be scored at once, got {len(pairs)}.", "text_2")
        if self._embeds:
            return await self._cosines(first, second)
        if self._template is not None:
            texts = [await self._rendered(self._template, a, b) for a, b in pairs]
            ids = await ids_of_texts(texts, None, self._service, self._bounds._replace(special=False))
        else:
            ids = await ids_of_texts([a for a, _ in pairs], [b for _, b in pairs], self._service, self._bounds)
        return [o.outputs.data.tolist()[0] for o in await self._pool(ids, "classify")]

    async def _rendered(self, template: ChatTemplate, query: str, document: str) -> str:
        if not self._strangers_template:
            return rendered_pair(template, query, document)
        messages = pair_messages(query, document)
        return await self._service.template_process.render(template, messages=messages, add_generation_prompt=True)

    async def _cosines(self, first: list[str], second: list[str]) -> list[float]:
        ids = await ids_of_texts(first, None, self._service, self._bounds)
        bounds = self._bounds
        if bounds.most_second is not None:
            bounds = bounds._replace(most=min(bounds.most_second, bounds.most or bounds.most_second))
        ids += await ids_of_texts(second, None, self._service, bounds)
        vectors = [o.outputs.data.tolist() for o in await self._pool(ids, "embed")]
        ones, others = vectors[: len(first)], vectors[len(first) :]
        return [cosine(ones[i if len(ones) > 1 else 0], other) for i, other in enumerate(others)]

    async def _pool(self, ids: list[Ids], task: str) -> list[PoolingRequestOutput]:
        params = params_of(self._body, task)
        outputs = await pooled(self._request, self._body, self._service, ids, params, self._public_id)
        self.tokens, self.cached = prompt_tokens(outputs)
        return outputs


def _pair_template(service: Service, given: str | None) -> ChatTemplate | None:
    """The template that makes one text of a pair: the request's or the option's; the model's own is for chats."""
    if given is None:
        return service.pair_template
    if not service.trust_request_template:
        raise ClientError(
            "Chat template is passed with request, but --trust-request-chat-template is not set. Refused.",
            "chat_template",
        )
    return service.template.replaced(given)


def _two_sides(body: ScoreRequest) -> tuple[list[str], list[str]]:
    given = [(a, b) for a, b in NAMES if getattr(body, a) is not None and getattr(body, b) is not None]
    if len(given) != 1:
        names = ", ".join(f"{a} and {b}" for a, b in NAMES)
        raise ClientError(f"exactly one of these pairs must be given: {names}.", given[1][0] if given else "text_1")
    (a, b) = given[0]
    return _texts(getattr(body, a), a), _texts(getattr(body, b), b)


def _texts(given: Texts | list[Any], param: str) -> list[str]:
    """Texts, from texts and objects with a "text"."""
    items = [given] if isinstance(given, str) else given
    texts = [item.get("text") if isinstance(item, dict) else item for item in items]
    if not texts:
        raise ClientError(f"{param} must not be empty.", param)
    for text in texts:
        if not isinstance(text, str):
            raise ClientError(f"{param} must be texts, or objects with a text.", param)
    return [str(t) for t in texts]
