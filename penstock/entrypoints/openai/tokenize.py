"""Text to ids and back over HTTP: what a client needs to count or to build prompts as this server does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from penstock.entrypoints.openai.answers import DetokenizeAnswer, TokenizeAnswer
from penstock.entrypoints.openai.body import read_body
from penstock.entrypoints.openai.chat_prompt import rendered
from penstock.entrypoints.openai.front import Front
from penstock.entrypoints.openai.service import Service
from penstock.entrypoints.openai.types import ChatRequest, DetokenizeRequest, TokenizeRequest
from penstock.errors import ClientError
from penstock.tokenizers.tokenizer import Tokenizer

MAX_DETOKENIZE = 1 << 20

_tokenize_decoder = msgspec.json.Decoder(TokenizeRequest, strict=False)
_detokenize_decoder = msgspec.json.Decoder(DetokenizeRequest, strict=False)
_encode = msgspec.json.Encoder().encode


async def tokenize(request: Request, front: Front) -> Response:
    """POST /tokenize: the ids that a prompt or a chat would run as."""
    service = front.service
    body = await read_body(request, _tokenize_decoder)
    service.check_model(body.model)
    tokenizer = _tokenizer(service)
    if body.messages is not None:
        text, special = await rendered(_as_chat(body), service), bool(body.add_special_tokens)
    elif body.prompt is not None:
        text, special = body.prompt, body.add_special_tokens is not False
    else:
        raise ClientError("either prompt or messages must be given.", "prompt")
    ids = await tokenizer.encode_async(text, special)
    strings = [tokenizer.id_to_token(i) or "" for i in ids] if body.return_token_strs else None
    return _json(TokenizeAnswer(len(ids), service.max_model_len, ids, strings))


async def detokenize(request: Request, front: Front) -> Response:
    """POST /detokenize: the text of ids."""
    service = front.service
    body = await read_body(request, _detokenize_decoder)
    service.check_model(body.model)
    if len(body.tokens) > MAX_DETOKENIZE:
        raise ClientError(f"tokens may hold at most {MAX_DETOKENIZE} ids.", "tokens")
    tokenizer, vocab_size = _tokenizer(service), service.config.model.shape.vocab_size
    for token_id in body.tokens:
        if not 0 <= token_id < vocab_size:
            raise ClientError(f"Token id {token_id} is out of vocabulary.", "tokens")
    return _json(DetokenizeAnswer(tokenizer.decode(body.tokens, skip_special_tokens=False)))


async def tokenizer_info(request: Request, front: Front) -> Response:
    """GET /tokenizer_info: tokenizer_config.json, with the special tokens as texts and the template that is used."""
    service = front.service
    tokenizer = _tokenizer(service)
    sources = dict(service.template.sources)
    template = sources.get("default") if len(sources) == 1 else sources or None
    return JSONResponse(
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            **_config_file(service.config.model.tokenizer_path),
            "vocab_size": tokenizer.vocab_size,
            "model_max_length": service.max_model_len,
            "chat_template": template,
            **tokenizer.special_tokens,
        }
    )


def _config_file(folder: str | None) -> dict[str, Any]:
    try:
        found = json.loads((Path(folder or "") / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a tokenizer.json alone is enough to serve
    return found if isinstance(found, dict) else {}


def _as_chat(body: TokenizeRequest) -> ChatRequest:
    return ChatRequest(
        messages=body.messages or [],
        tools=body.tools,
        add_generation_prompt=body.add_generation_prompt,
        continue_final_message=body.continue_final_message,
        documents=body.documents,
        reasoning_effort=body.reasoning_effort,
        chat_template=body.chat_template,
        chat_template_kwargs=body.chat_template_kwargs,
    )


def _tokenizer(service: Service) -> Tokenizer:
    if service.tokenizer is None:
        raise ClientError("this server has no tokenizer (--skip-tokenizer-init).")
    return service.tokenizer


def _json(answer: msgspec.Struct) -> Response:
    return Response(_encode(answer), media_type="application/json")
