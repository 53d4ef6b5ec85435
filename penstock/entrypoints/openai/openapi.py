"""The OpenAPI document, made from the structs that the routes decode and encode: it cannot say anything else."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from penstock import __version__
from penstock.engine.messages import SCHEDULING, SLEEP_MODES, SLEEP_PARTS
from penstock.entrypoints.anthropic import answers as anthropic_answers
from penstock.entrypoints.anthropic import types as anthropic_types
from penstock.entrypoints.anthropic.errors import AnthropicErrorAnswer
from penstock.entrypoints.openai import admin, answers, pooling_types, responses_types, types
from penstock.entrypoints.openai.invocations import FORMS
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
    "/v1/responses": (responses_types.ResponsesRequest, responses_types.ResponseObject),
    "/v1/responses/input_tokens": (responses_types.ResponsesRequest, responses_types.InputTokenCount),
    "/tokenize": (types.TokenizeRequest, answers.TokenizeAnswer),
    "/detokenize": (types.DetokenizeRequest, answers.DetokenizeAnswer),
    "/collective_rpc": (admin.RpcRequest, admin.RpcAnswer),
}
ANSWERS: dict[str, type] = {
    "/v1/models": answers.ModelList,
    "/v1/models/{model_id:path}": answers.ModelCard,
    "/v1/responses/{response_id}": responses_types.ResponseObject,
    "/v1/responses/{response_id}/cancel": responses_types.ResponseObject,
    "/v1/responses/{response_id}/input_items": responses_types.InputItemList,
}
DELETED: dict[str, type] = {"/v1/responses/{response_id}": responses_types.DeletedResponse}
QUERIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/reset_prefix_cache"): {"reset_running_requests": {"type": "boolean", "default": False}},
    ("POST", "/sleep"): {
        "level": {"enum": [0, 1, 2], "default": 1},
        "mode": {"enum": list(SLEEP_MODES), "default": SLEEP_MODES[0]},
    },
    ("POST", "/wake_up"): {"tags": {"type": "array", "items": {"enum": [*SLEEP_PARTS, SCHEDULING]}}},
    ("GET", "/server_info"): {"config_format": {"enum": ["text", "json"], "default": "text"}},
    ("GET", "/v1/responses/{response_id}"): {
        "stream": {"type": "boolean", "default": False},
        "starting_after": {"type": "integer", "minimum": -1},
    },
    ("GET", "/v1/responses/{response_id}/input_items"): {
        "order": {"enum": ["asc", "desc"], "default": "desc"},
        "after": {"type": "string"},
        "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    },
}
INVOCATIONS = "/invocations"
STREAMED = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/messages",
    "/v1/responses",
    "/v1/responses/{response_id}",
)


def document(routes: list[tuple[str, str]]) -> dict[str, Any]:
    """The document for routes given as (path template, method)."""
    involved = [t for pair in BODIES.values() for t in pair] + [
        *ANSWERS.values(),
        *DELETED.values(),
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
        error = errors[path.startswith(MESSAGES)]
        answer = (DELETED if method == "DELETE" else ANSWERS).get(path)
        operation: dict[str, Any] = {"responses": {"200": {"description": "OK"}, "4XX": error, "5XX": error}}
        bodies = [BODIES[path][0]] if path in BODIES else []
        if path in BODIES:
            answer = BODIES[path][1]
        elif path == INVOCATIONS:
            bodies = list(dict.fromkeys(BODIES[other][0] for _, others in FORMS for other in others))
        if bodies:
            schema = schema_of[bodies[0]] if path in BODIES else {"anyOf": [schema_of[b] for b in bodies]}
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        if answer is not None:
            content: dict[str, Any] = {"application/json": {"schema": schema_of[answer]}}
            if path in STREAMED:
                content["text/event-stream"] = {"schema": {"type": "string"}}
            operation["responses"]["200"]["content"] = content
        shown = path.replace(":path}", "}")
        places = [("path", name, {"type": "string"}) for name in re.findall(r"\{(\w+)\}", shown)]
        places += [("query", name, schema) for name, schema in QUERIES.get((method, path), {}).items()]
        if places:
            operation["parameters"] = [
                {"name": name, "in": place, "required": place == "path", "schema": schema}
                for place, name, schema in places
            ]
        paths.setdefault(shown, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Penstock", "version": __version__},
        "paths": paths,
        "components": {"schemas": components},
    }
