"""Bodies and answers of the pooling routes, as msgspec structs: vLLM's names, and those of Cohere and Jina for rerank.

As in `types.py`: null means the default, unknown fields are ignored.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.entrypoints.openai.answers import Usage
from penstock.entrypoints.openai.types import Int, Json, Name

Input = str | list[Int | str | list[Int]]


class PoolingFields(msgspec.Struct, kw_only=True):
    """What all of them share."""

    model: Name | None = None
    truncate_prompt_tokens: Int | None = None
    truncation_side: Name | None = None
    add_special_tokens: bool | None = None
    use_activation: bool | None = None
    activation: bool | None = None
    softmax: bool | None = None
    normalize: bool | None = None
    priority: Int | None = None
    request_id: Name | None = None
    cache_salt: str | None = None
    user: Any = None  # ignored
    mm_processor_kwargs: Json | None = None


class InputFields(PoolingFields, kw_only=True):
    """Texts or token ids, or one chat."""

    input: Input | None = None
    messages: list[Json] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template: str | None = None
    chat_template_kwargs: Json | None = None


class NumberFormat(InputFields, kw_only=True):
    """And how numbers are written."""

    encoding_format: Name | None = None
    embed_dtype: Name | None = None
    endianness: Name | None = None
    dimensions: Int | None = None


class EmbeddingRequest(NumberFormat, kw_only=True):
    """POST /v1/embeddings."""


class PoolingRequest(NumberFormat, kw_only=True):
    """POST /pooling."""

    task: Name | None = None
    step_tag_id: Int | None = None
    returned_token_ids: list[Int] | None = None


class ClassifyRequest(InputFields, kw_only=True):
    """POST /classify."""


Texts = str | list[str | Json]


class ScoreRequest(PoolingFields, kw_only=True):
    """POST /score: two texts, or one and several, or as many on both sides; each pair of names means the same."""

    text_1: Texts | None = None
    text_2: Texts | None = None
    data_1: Texts | None = None
    data_2: Texts | None = None
    queries: Texts | None = None
    documents: Texts | None = None
    items: Texts | None = None
    chat_template: str | None = None


class RerankRequest(PoolingFields, kw_only=True):
    """POST /rerank."""

    query: str | Json
    documents: list[str | Json]
    top_n: Int | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: Int | None = None
    chat_template: str | None = None


class Embedding(msgspec.Struct, kw_only=True):
    index: int
    object: str = "embedding"
    embedding: list[float] | str


class EmbeddingAnswer(msgspec.Struct, kw_only=True):
    """Answer of POST /v1/embeddings."""

    id: str
    object: str = "list"
    created: int
    model: str
    data: list[Embedding]
    usage: Usage


class PooledData(msgspec.Struct, kw_only=True):
    index: int
    object: str = "pooling"
    data: list[float | list[float]] | str


class PoolingAnswer(msgspec.Struct, kw_only=True):
    """Answer of POST /pooling."""

    id: str
    object: str = "list"
    created: int
    model: str
    data: list[PooledData]
    usage: Usage


class ClassifiedData(msgspec.Struct, kw_only=True):
    index: int
    label: str | None
    probs: list[float]
    num_classes: int


class ClassifyAnswer(msgspec.Struct, kw_only=True):
    """Answer of POST /classify."""

    id: str
    object: str = "list"
    created: int
    model: str
    data: list[ClassifiedData]
    usage: Usage


class ScoredData(msgspec.Struct, kw_only=True):
    index: int
    object: str = "score"
    score: float


class ScoreAnswer(msgspec.Struct, kw_only=True):
    """Answer of POST /score."""

    id: str
    object: str = "list"
    created: int
    model: str
    data: list[ScoredData]
    usage: Usage


class RankedDocument(msgspec.Struct, kw_only=True, omit_defaults=True):
    text: str | None = None


class RankedData(msgspec.Struct, kw_only=True, omit_defaults=True):
    index: int
    document: RankedDocument | None = None
    relevance_score: float


class RerankUsage(msgspec.Struct, kw_only=True):
    prompt_tokens: int
    total_tokens: int


class RerankAnswer(msgspec.Struct, kw_only=True):
    """Answer of POST /rerank, the best first. `meta` is what Cohere's clients look at."""

    id: str
    model: str
    usage: RerankUsage
    results: list[RankedData]
    meta: Json
