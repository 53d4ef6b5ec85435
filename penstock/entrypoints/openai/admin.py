"""Routes beside generation: health, models, tokens, metrics, and those for developers."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import penstock
from penstock.entrypoints.openai.answers import (
    DetokenizeAnswer,
    ModelCard,
    ModelList,
    ModelPermission,
    TokenizeAnswer,
)
from penstock.entrypoints.openai.body import read_body
from penstock.entrypoints.openai.chat_prompt import rendered
from penstock.entrypoints.openai.front import Front
from penstock.entrypoints.openai.service import Service
from penstock.entrypoints.openai.types import ChatRequest, DetokenizeRequest, TokenizeRequest
from penstock.errors import ClientError, EngineError, NotFoundError, NotReadyError
from penstock.tokenizers.tokenizer import Tokenizer

_tokenize_decoder = msgspec.json.Decoder(TokenizeRequest)
_detokenize_decoder = msgspec.json.Decoder(DetokenizeRequest)
_encode = msgspec.json.Encoder().encode

MAX_DETOKENIZE = 1 << 20


async def health(request: Request, front: Front) -> Response:
    """200 while the engine lives and has loaded its model; costs it no request."""
    try:
        await front.engine.check_health()
    except (EngineError, NotReadyError):
        return Response(status_code=503)
    return Response(status_code=503 if front.failed else 200)


async def ready(request: Request, front: Front) -> Response:
    """200 while requests are admitted."""
    try:
        front.check_admits()
    except (EngineError, NotReadyError):
        return Response(status_code=503)
    return Response(status_code=200)


async def version(request: Request, front: Front) -> Response:
    return JSONResponse({"version": penstock.__version__})


async def models(request: Request, front: Front) -> Response:
    """GET /v1/models."""
    service = front.service
    return _json(ModelList(data=[_card(service, name) for name in service.model_names]))


async def model(request: Request, front: Front) -> Response:
    """GET /v1/models/{id}."""
    service, name = front.service, request.path_params["model_id"]
    if name not in service.model_names:
        raise NotFoundError(f"The model `{name}` does not exist.", "model")
    return _json(_card(service, name))


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
    """GET /tokenizer_info: what a client needs to build prompts itself."""
    service = front.service
    tokenizer = _tokenizer(service)
    return JSONResponse(
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "vocab_size": tokenizer.vocab_size,
            "model_max_length": service.max_model_len,
            "chat_template": tokenizer.chat_template,
            **tokenizer.special_tokens,
        }
    )


async def reset_prefix_cache(request: Request, front: Front) -> Response:
    """POST /reset_prefix_cache, for developers."""
    return JSONResponse({"success": bool(await front.engine.call("reset_prefix_cache"))})


async def server_info(request: Request, front: Front) -> Response:
    """GET /server_info, for developers: the engine's configuration, as JSON or as text."""
    config = msgspec.to_builtins(front.engine.config, str_keys=True)
    if request.query_params.get("config_format", "text") == "json":
        return JSONResponse({"vllm_config": config, "penstock_config": config})
    return JSONResponse({"vllm_config": repr(front.engine.config), "penstock_config": repr(front.engine.config)})


def _as_chat(body: TokenizeRequest) -> ChatRequest:
    continues = bool(body.continue_final_message)
    return ChatRequest(
        messages=body.messages or [],
        tools=body.tools,
        add_generation_prompt=body.add_generation_prompt is not False and not continues,
        continue_final_message=continues,
        chat_template=body.chat_template,
        chat_template_kwargs=body.chat_template_kwargs,
    )


def _tokenizer(service: Service) -> Tokenizer:
    if service.tokenizer is None:
        raise ClientError("this server has no tokenizer (--skip-tokenizer-init).")
    return service.tokenizer


def _card(service: Service, name: str) -> ModelCard:
    return ModelCard(
        id=name,
        created=service.created,
        root=service.model_root,
        max_model_len=service.max_model_len,
        permission=[ModelPermission(id="modelperm-penstock", created=service.created)],
    )


def _json(answer: msgspec.Struct) -> Response:
    return Response(_encode(answer), media_type="application/json")
