"""A request's constraint on its answer: response_format, structured_outputs and the older guided_* fields, as one."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from penstock.entrypoints.openai.types import ChatRequest, SamplingFields
from penstock.errors import ClientError
from penstock.params import StructuredOutputsParams

OLDER = {"guided_json": "json", "guided_regex": "regex", "guided_choice": "choice", "guided_grammar": "grammar"}
BACKEND_OPTIONS = {
    "no-fallback": None,  # there is none within a request
    "disable-any-whitespace": "disable_any_whitespace",
    "no-additional-properties": "disable_additional_properties",
}
OPTIONS = ("disable_any_whitespace", "disable_additional_properties", "whitespace_pattern")
_OWN_PLACE = re.compile(r"^structured_outputs(\.\w+)?")
FIELDS = ("json", "regex", "choice", "grammar", "json_object", "structural_tag", *OPTIONS)


def constraint_of(request: SamplingFields) -> StructuredOutputsParams | None:
    """None for an answer without one. response_format comes before the others.

    Raises:
        ClientError: it is malformed, or there is more than one; `param` names the field.
    """
    fields: dict[str, Any] = {n: v for n, v in (request.structured_outputs or {}).items() if v is not None}
    unknown = [name for name in fields if name not in FIELDS]
    if unknown:
        raise ClientError(f"structured_outputs has no member {unknown[0]!r}.", "structured_outputs")
    param = "structured_outputs"
    for older, name in OLDER.items():
        if getattr(request, older) is not None:
            fields.setdefault(name, getattr(request, older))
            param = older
    if request.structural_tag is not None:
        fields.setdefault("structural_tag", request.structural_tag)
        param = "structural_tag"
    if isinstance(fields.get("structural_tag"), dict):
        fields["structural_tag"] = json.dumps(fields["structural_tag"], ensure_ascii=False)
    for option in _backend_options(request.guided_decoding_backend):
        fields.setdefault(option, True)
    if request.guided_whitespace_pattern is not None:
        fields.setdefault("whitespace_pattern", request.guided_whitespace_pattern)
    if request.response_format is not None:
        chosen = _of_format(request.response_format)
        if chosen is not None:
            fields = {name: fields[name] for name in OPTIONS if name in fields} | chosen
            param = "response_format"
    if not any(name in fields for name in FIELDS if name not in OPTIONS):
        return None
    try:
        return msgspec.convert(fields, StructuredOutputsParams)
    except msgspec.ValidationError as e:
        if isinstance(e.__cause__, ClientError):
            raise ClientError(e.__cause__.message, param) from None
        raise ClientError(f"{param}: {e}", param) from None


@contextlib.contextmanager
def in_the_words_of(request: SamplingFields) -> Iterator[None]:
    """What the engine says of a constraint names `structured_outputs`; the client is told the field that it sent."""
    try:
        yield
    except ClientError as e:
        place = _place(request)
        if e.param != "structured_outputs" or place == e.param:
            raise
        raise ClientError(_OWN_PLACE.sub(lambda _: place, e.message), place.partition(".")[0]) from None


def _place(request: SamplingFields) -> str:
    """Where in the request its constraint is."""
    kind = (request.response_format or {}).get("type", "text")
    if kind != "text":
        return "response_format.json_schema.schema" if kind == "json_schema" else "response_format"
    if isinstance(request, ChatRequest) and request.tools and request.tool_choice != "none":
        return "tools"
    for name in (*OLDER, "structural_tag"):
        if getattr(request, name) is not None:
            return name
    return "structured_outputs"


def _backend_options(backend: str | None) -> list[str]:
    """The options behind the name: the engine itself is the server's choice."""
    options = [o.strip() for o in (backend or "").partition(":")[2].split(",")]
    unknown = [o for o in options if o and o not in BACKEND_OPTIONS]
    if unknown:
        raise ClientError(
            f"guided_decoding_backend has no option {unknown[0][:80]!r}; it has {', '.join(BACKEND_OPTIONS)}.",
            "guided_decoding_backend",
        )
    return [name for o in options if (name := BACKEND_OPTIONS.get(o))]


def _of_format(given: dict[str, Any]) -> dict[str, Any] | None:
    kind = given.get("type", "text")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"json_object": True}
    if kind == "json_schema":
        schema = given.get("json_schema")
        if not isinstance(schema, dict) or not isinstance(schema.get("schema"), dict):
            raise ClientError(
                "When response_format type is 'json_schema', the 'json_schema' field must be provided, with a schema.",
                "response_format",
            )
        strict = {"disable_additional_properties": True} if schema.get("strict") is True else {}
        return {"json": schema["schema"], **strict}
    if kind == "structural_tag":
        return {"structural_tag": json.dumps(given, ensure_ascii=False)}
    raise ClientError(
        "response_format must have the type text, json_object, json_schema or structural_tag.", "response_format", kind
    )
