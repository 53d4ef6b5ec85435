"""Routes beside generation: health, models, and those for developers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import penstock
from penstock.engine.messages import SCHEDULING, SLEEP_MODES, SLEEP_PARTS
from penstock.entrypoints.openai.answers import ModelCard, ModelList, ModelPermission
from penstock.entrypoints.openai.body import read_body
from penstock.entrypoints.openai.front import Front
from penstock.entrypoints.openai.service import Service
from penstock.errors import ClientError, DeadlineError, EngineError, NotFoundError, NotReadyError

_encode = msgspec.json.Encoder().encode


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
    names = service.model_names
    return _json(ModelList(data=[_card(service, n) for n in names], first_id=names[0], last_id=names[-1]))


async def model(request: Request, front: Front) -> Response:
    """GET /v1/models/{id}."""
    service, name = front.service, request.path_params["model_id"]
    if name not in service.model_names:
        raise NotFoundError(f"The model `{name}` does not exist.", "model")
    return _json(_card(service, name))


async def reset_prefix_cache(request: Request, front: Front) -> Response:
    """POST /reset_prefix_cache, for developers. There is no cache outside the engine for `reset_external` to mean."""
    running = request.query_params.get("reset_running_requests", "false").lower() in ("true", "1")
    return JSONResponse({"success": bool(await front.engine.call("reset_prefix_cache", running))})


class RpcRequest(msgspec.Struct):
    """POST /collective_rpc."""

    method: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    timeout: float | None = None


class RpcAnswer(msgspec.Struct):
    """Answer of POST /collective_rpc: what each worker's method returned."""

    results: list[Any]


_rpc_decoder = msgspec.json.Decoder(RpcRequest, strict=False)


async def collective_rpc(request: Request, front: Front) -> Response:
    """POST /collective_rpc, for developers: a method of every worker, by its name."""
    body = await read_body(request, _rpc_decoder)
    try:
        async with asyncio.timeout(body.timeout):
            answers = await front.engine.call("collective_rpc", body.method, body.args, body.kwargs)
    except TimeoutError:
        raise DeadlineError(f"The workers did not answer within {body.timeout} seconds.") from None
    except ClientError as e:
        raise ClientError(e.message, e.param or "method") from None
    return JSONResponse({"results": answers})


async def sleep(request: Request, front: Front) -> Response:
    """POST /sleep, for developers."""
    text, mode = request.query_params.get("level", "1"), request.query_params.get("mode", "abort")
    if text not in ("0", "1", "2"):
        raise ClientError("level must be 0, 1 or 2.", "level", text)
    if mode not in SLEEP_MODES:
        raise ClientError(f"mode must be one of {', '.join(SLEEP_MODES)}.", "mode", mode)
    level = int(text)
    await front.engine.sleep(level, mode)
    return JSONResponse({"status": "sleeping", "level": level})


async def wake_up(request: Request, front: Front) -> Response:
    """POST /wake_up, for developers."""
    tags = request.query_params.getlist("tags") or None
    for tag in tags or ():
        if tag not in (*SLEEP_PARTS, SCHEDULING):
            raise ClientError(f"tags must be among {', '.join(SLEEP_PARTS)}, {SCHEDULING}.", "tags", tag)
    awake = await front.engine.wake_up(tags)
    return JSONResponse({"status": "awake" if awake else "sleeping", "tags": tags})


async def is_sleeping(request: Request, front: Front) -> Response:
    """GET /is_sleeping, for developers."""
    return JSONResponse({"is_sleeping": await front.engine.is_sleeping()})


async def server_info(request: Request, front: Front) -> Response:
    """GET /server_info, for developers: the engine's configuration, as JSON or as text."""
    config = msgspec.to_builtins(front.engine.config, str_keys=True)
    if request.query_params.get("config_format", "text") == "json":
        return JSONResponse({"vllm_config": config, "penstock_config": config})
    return JSONResponse({"vllm_config": repr(front.engine.config), "penstock_config": repr(front.engine.config)})


def _card(service: Service, name: str) -> ModelCard:
    return ModelCard(
        id=name,
        created=service.created,
        root=service.model_root,
        max_model_len=service.max_model_len,
        permission=[ModelPermission(id="modelperm-penstock", created=service.created)],
        display_name=name,
        created_at=datetime.fromtimestamp(service.created, UTC).isoformat(),
        max_input_tokens=service.max_model_len,
        max_tokens=service.max_model_len,
    )


def _json(answer: msgspec.Struct) -> Response:
    return Response(_encode(answer), media_type="application/json")
