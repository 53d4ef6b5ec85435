"""The OpenAPI document, made from the structs that the routes decode and encode: it cannot say anything else."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock import __version__
from penstock.entrypoints.anthropic import answers as anthropic_answers
from penstock.entrypoints.anthropic import types as anthropic_types
from penstock.entrypoints.anthropic.errors import AnthropicErrorAnswer
from penstock.entrypoints.openai import answers, pooling_types, types
from penstock.entrypoints.openai.paths import MESSAGES

BODIES: dict[str, tuple[type, type]] = {
    "/v1/chat/completions": (types.ChatRequest, answers.ChatCompletion),
    "/v1/completions": (types.CompletionRequest, answers.Completion),
    "/v1/messages": (anthropic_types.MessagesRequest, anthropic_answers.MessageAnswer),
    "/v1/messages/count_tokens": (anthropic_types.CountTokensRequest, anthropic_answers.TokenCount),
    "/v1/embeddings": (pooling_types.EmbeddingRequest, pooling_types.EmbeddingAnswer),
    "/pooling": (pooling_types.PoolingRequest, pooling_types.PoolingAnswer),
    "/classify": (pooling_types.ClassifyRequest, pooling_types.ClassifyAnswer),
    **dict.fromkeys(("/score", "/v1/score"), (pooling_types.ScoreRequest, pooling_types.ScoreAnswer)),
    **dict.fromkeys(("/rerank", "/v1/rerank", "/v2/rerank"), (pooling_types.RerankRequest, pooling_types.RerankAnswer)),
    "/tokenize": (types.TokenizeRequest, answers.TokenizeAnswer),
    "/detokenize": (types.DetokenizeRequest, answers.DetokenizeAnswer),
}
ANSWERS: dict[str, type] = {"/v1/models": answers.ModelList, "/v1/models/{model_id:path}": answers.ModelCard}
STREAMED = ("/v1/chat/completions", "/v1/completions", "/v1/messages")


def document(routes: list[tuple[str, str]]) -> dict[str, Any]:
    """The document for routes given as (path template, method)."""
    involved = [t for pair in BODIES.values() for t in pair] + [
        *ANSWERS.values(),
        answers.ErrorAnswer,
        AnthropicErrorAnswer,
    ]
    schemas, components = msgspec.json.schema_components(involved, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(involved, schemas, strict=True))
    errors = [
        {"description": "Error", "content": {"application/json": {"schema": schema_of[kind]}}}
        for kind in (answers.ErrorAnswer, AnthropicErrorAnswer)
    ]
    paths: dict[str, Any] = {}
    for path, method in routes:
        answer = ANSWERS.get(path)
        error = errors[path.startswith(MESSAGES)]
        operation: dict[str, Any] = {"responses": {"200": {"description": "OK"}, "4XX": error, "5XX": error}}
        if path in BODIES:
            body, answer = BODIES[path]
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema_of[body]}}}
        if answer is not None:
            content: dict[str, Any] = {"application/json": {"schema": schema_of[answer]}}
            if path in STREAMED:
                content["text/event-stream"] = {"schema": {"type": "string"}}
            operation["responses"]["200"]["content"] = content
        shown = path.replace(":path}", "}")
        if "{model_id}" in shown:
            operation["parameters"] = [
                {"name": "model_id", "in": "path", "required": True, "schema": {"type": "string"}}
            ]
        paths.setdefault(shown, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Penstock", "version": __version__},
        "paths": paths,
        "components": {"schemas": components},
    }
