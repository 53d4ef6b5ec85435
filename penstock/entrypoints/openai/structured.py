"""A request's constraint on its answer: response_format, structured_outputs and the older guided_* fields, as one."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from penstock.entrypoints.openai.types import SamplingFields
from penstock.errors import ClientError
from penstock.params import StructuredOutputsParams

OLDER = {"guided_json": "json", "guided_regex": "regex", "guided_choice": "choice", "guided_grammar": "grammar"}
OPTIONS = ("disable_any_whitespace", "disable_additional_properties", "whitespace_pattern")
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
        return {"json": schema["schema"]}
    if kind == "structural_tag":
        return {"structural_tag": json.dumps(given, ensure_ascii=False)}
    raise ClientError(
        "response_format must have the type text, json_object, json_schema or structural_tag.", "response_format", kind
    )
