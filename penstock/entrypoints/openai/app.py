"""The FastAPI app: routes, middleware, error handlers. Handlers take the raw request and the front."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from penstock import envs
from penstock.config.engine_config import EngineConfig
from penstock.config.sections import ServerArgs
from penstock.engine.messages import Ready
from penstock.entrypoints.anthropic.count_tokens import count_tokens
from penstock.entrypoints.anthropic.messages import messages
from penstock.entrypoints.openai import admin, openapi, tokenize
from penstock.entrypoints.openai.auth import Authentication
from penstock.entrypoints.openai.chat import chat_completions
from penstock.entrypoints.openai.completions import completions
from penstock.entrypoints.openai.embeddings import classify, embeddings, pooling
from penstock.entrypoints.openai.errors import error_response
from penstock.entrypoints.openai.frame import ROUTE, Frame
from penstock.entrypoints.openai.front import Front
from penstock.entrypoints.openai.gate import Gate
from penstock.entrypoints.openai.guard import ClientGoneError
from penstock.entrypoints.openai.invocations import invocations
from penstock.entrypoints.openai.responses import Responses
from penstock.entrypoints.openai.score import rerank, score
from penstock.entrypoints.openai.tasks import check_task
from penstock.errors import NotReadyError, StartError
from penstock.observability.http_stats import HttpStats
from penstock.observability.prometheus import CONTENT_TYPE, MetricsPage
from penstock.plugins import load_object

Handler = Callable[[Request, Front], Awaitable[Response]]


def build_app(args: ServerArgs | None = None) -> FastAPI:
    """An app without an engine; `app.state.front` gets one before it starts.

    Raises:
        StartError: a middleware cannot be imported.
    """
    args = args or ServerArgs()
    docs = not args.disable_fastapi_docs
    app = FastAPI(
        title="Penstock",
        openapi_url="/openapi.json" if docs else None,
        docs_url="/docs" if docs else None,
        redoc_url="/redoc" if docs else None,
        lifespan=_lifespan,
    )
    app.root_path = args.root_path or ""
    app.state.front = None
    app.state.args = args
    http_stats = HttpStats()
    _add_routes(app, args, http_stats)
    _add_middleware(app, args, http_stats)
    for kind in (HTTPException, Exception):
        app.add_exception_handler(kind, _on_exception)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """For servers other than ours (`uvicorn.run(app)`): ours starts and stops the front itself, and before this."""
    front: Front | None = app.state.front
    if front is not None:
        await front.start()
    yield
    if front is not None:
        await front.stop()


def _add_routes(app: FastAPI, args: ServerArgs, http_stats: HttpStats) -> None:
    pages: list[MetricsPage] = []

    async def metrics(request: Request, front: Front) -> Response:
        if not pages:
            config = front.service.config
            info = _cache_info(config, getattr(front.engine, "ready_info", None))
            pages.append(MetricsPage(front.stats, http_stats, args.metrics_prefix, config.model.served_names[0], info))
        return Response(pages[0].render(), headers={"Content-Type": CONTENT_TYPE})

    async def load(request: Request, front: Front) -> Response:
        # This request is one of those in flight.
        return JSONResponse({"server_load": front.in_flight - 1 if args.enable_server_load_tracking else 0})

    responses = Responses()
    routes: list[tuple[str, str, Handler]] = [
        ("/health", "GET", admin.health),
        ("/ready", "GET", admin.ready),
        ("/ping", "GET", admin.health),
        ("/ping", "POST", admin.health),
        ("/version", "GET", admin.version),
        ("/load", "GET", load),
        ("/metrics", "GET", metrics),
        ("/v1/models", "GET", admin.models),
        ("/v1/models/{model_id:path}", "GET", admin.model),
        ("/tokenize", "POST", tokenize.tokenize),
        ("/detokenize", "POST", tokenize.detokenize),
        ("/v1/completions", "POST", completions),
        ("/v1/chat/completions", "POST", chat_completions),
        ("/v1/messages", "POST", messages),
        ("/v1/messages/count_tokens", "POST", count_tokens),
        ("/v1/embeddings", "POST", embeddings),
        ("/pooling", "POST", pooling),
        ("/classify", "POST", classify),
        *((path, "POST", score) for path in ("/score", "/v1/score")),
        *((path, "POST", rerank) for path in ("/rerank", "/v1/rerank", "/v2/rerank")),
        ("/v1/responses", "POST", responses.create),
        ("/v1/responses/input_tokens", "POST", responses.count_input),
        ("/v1/responses/{response_id}", "GET", responses.retrieve),
        ("/v1/responses/{response_id}", "DELETE", responses.delete),
        ("/v1/responses/{response_id}/cancel", "POST", responses.cancel),
        ("/v1/responses/{response_id}/input_items", "GET", responses.input_items),
    ]
    if args.enable_tokenizer_info_endpoint:
        routes.append(("/tokenizer_info", "GET", tokenize.tokenizer_info))
    if envs.SERVER_DEV_MODE:
        routes.append(("/reset_prefix_cache", "POST", admin.reset_prefix_cache))
        routes.append(("/collective_rpc", "POST", admin.collective_rpc))
        routes.append(("/server_info", "GET", admin.server_info))
        routes.append(("/sleep", "POST", admin.sleep))
        routes.append(("/wake_up", "POST", admin.wake_up))
        routes.append(("/is_sleeping", "GET", admin.is_sleeping))
    routes.append(("/invocations", "POST", invocations({path: handler for path, _, handler in routes})))
    for path, method, handler in routes:
        app.router.add_route(path, _endpoint(path, handler), [method], include_in_schema=False)
    document = openapi.document([(path, method) for path, method, _ in routes])
    app.openapi = lambda: document  # type: ignore[method-assign]


def _cache_info(config: EngineConfig, ready: Ready | None) -> dict[str, Any]:
    """The labels of `cache_config_info`, with vLLM's names."""
    cache = config.cache
    return {
        "block_size": cache.block_size,
        "cache_dtype": cache.dtype,
        "enable_prefix_caching": cache.enable_prefix_caching,
        "gpu_memory_utilization": cache.memory_utilization,
        "kv_cache_memory_bytes": cache.memory_bytes,
        "num_gpu_blocks": None if ready is None else ready.num_blocks,
        "num_gpu_blocks_override": cache.num_blocks_override,
        "prefix_caching_hash_algo": cache.prefix_hash,
    }


def _endpoint(path: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """The handler with the boundary of one request around it: whatever it raises becomes an answer."""

    async def endpoint(request: Request) -> Response:
        request.scope[ROUTE] = path
        front: Front | None = request.app.state.front
        try:
            if front is None:
                raise NotReadyError("The server has no engine yet: call init_app first.")
            check_task(path, front.service.config)
            return await handler(request, front)
        except ClientGoneError:
            return Response(status_code=499)  # nobody reads it
        except Exception as e:  # the boundary of one request
            return error_response(e, request.scope)

    return endpoint


def _add_middleware(app: FastAPI, args: ServerArgs, http_stats: HttpStats) -> None:
    """From the inside out: the last one added sees a request first."""
    for path in args.middleware:
        _add_user_middleware(app, path)
    app.add_middleware(Gate, front=lambda: app.state.front)
    keys = api_keys(args)
    if keys:
        app.add_middleware(Authentication, keys=keys, protect_metrics=args.protect_metrics)
    app.add_middleware(Frame, stats=http_stats, always_send_id=args.enable_request_id_headers)
    if args.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=args.allowed_origins,
            allow_credentials=args.allow_credentials,
            allow_methods=args.allowed_methods,
            allow_headers=args.allowed_headers,
        )


def _add_user_middleware(app: FastAPI, path: str) -> None:
    target: Any = load_object(path)
    if isinstance(target, type):
        app.add_middleware(target)  # type: ignore[arg-type]
    elif callable(target):
        app.middleware("http")(target)
    else:
        raise StartError(f"--middleware {path} is neither a class nor a function.")


def api_keys(args: ServerArgs) -> list[str]:
    """The keys of --api-key, else of the environment; none for an open server."""
    keys = args.api_key if args.api_key is not None else envs.API_KEY
    if keys is None:
        return []
    return [k for k in ([keys] if isinstance(keys, str) else keys) if k]


async def _on_exception(request: Request, exc: Exception) -> Response:
    return error_response(exc, request.scope)
