"""What the pooling routes share: inputs to token ids, ids through the engine, numbers as a client wants them."""

from __future__ import annotations

import asyncio
import base64
import struct
import sys
from array import array
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from penstock.config.pooling import PoolingConfig
from penstock.engine.pooling_request import Ids
from penstock.entrypoints.openai.chat_prompt import rendered
from penstock.entrypoints.openai.guard import Guard
from penstock.entrypoints.openai.pooling_types import Input, InputFields, NumberFormat, PoolingFields
from penstock.entrypoints.openai.service import PoolingStream, Service
from penstock.entrypoints.openai.types import ChatRequest
from penstock.errors import ClientError, EngineError
from penstock.outputs import Floats, PoolingRequestOutput
from penstock.params import PoolingParams
from penstock.tokenizers.pair import Bounds, encode_inputs_async
from penstock.tokenizers.tokenizer import Tokenizer

MAX_INPUTS = 16384
SUBMITTED_PER_TURN = 128
NO_MODEL = "This server's model generates text; {} needs a model that pools."


def pooling_of(service: Service, what: str) -> PoolingConfig:
    """How the model pools.

    Raises:
        ClientError: it does not.
    """
    pooling = service.config.pooling
    if pooling is None:
        raise ClientError(NO_MODEL.format(what), "model")
    return pooling


def need_task(pooling: PoolingConfig, task: str, what: str) -> None:
    """Raise ClientError if the model cannot do it."""
    if task not in pooling.tasks:
        known = ", ".join(pooling.tasks)
        raise ClientError(f"The model does not support {what}; its tasks are {known}.", "model")


def params_of(body: PoolingFields, task: str | None) -> PoolingParams:
    """Parameters that all routes have."""
    return PoolingParams(
        task=task,
        use_activation=body.use_activation,
        activation=body.activation,
        softmax=body.softmax,
        normalize=body.normalize,
    )


async def ids_of_inputs(body: InputFields, service: Service) -> list[Ids]:
    """Token ids of every input.

    Raises:
        ClientError: there is none, kinds are mixed, or the bounds are out of range.
    """
    if body.mm_processor_kwargs:
        raise ClientError("this model takes text only; media options are refused.", "mm_processor_kwargs")
    bounds = bounds_of(body, service)
    if body.messages is not None:
        if body.input is not None:
            raise ClientError("input and messages cannot both be given.", "input")
        text = await rendered(_as_chat(body), service)
        special = bool(body.add_special_tokens)
        return await ids_of_texts([text], None, service, bounds._replace(special=special))
    given = _split(body.input)
    if isinstance(given[0], str):
        return await ids_of_texts([t for t in given if isinstance(t, str)], None, service, bounds)
    return [Ids(_shortened(list(ids), bounds)) for ids in given]


def bounds_of(body: PoolingFields, service: Service) -> Bounds:
    """How texts are encoded and cut."""
    assert service.pooling_inputs is not None
    if body.truncation_side not in (None, "left", "right"):
        raise ClientError("truncation_side must be 'left' or 'right'.", "truncation_side")
    return Bounds(
        special=body.add_special_tokens is not False,
        most=service.pooling_inputs.most_tokens(body.truncate_prompt_tokens),
        side=body.truncation_side or "right",
        lowercase=service.config.pooling is not None and service.config.pooling.lowercase,
    )


async def ids_of_texts(
    texts: Sequence[str], seconds: Sequence[str] | None, service: Service, bounds: Bounds
) -> list[Ids]:
    """Token ids of texts, or of pairs."""
    tokenizer = need_tokenizer(service)
    if bounds.most is None and service.pooling_inputs is not None:
        for text in (*texts, *(seconds or ())):
            service.pooling_inputs.check_text(text, tokenizer)
    return [Ids(*e) for e in await encode_inputs_async(tokenizer, texts, seconds, bounds)]


def need_tokenizer(service: Service) -> Tokenizer:
    """The tokenizer, or a ClientError."""
    if service.tokenizer is None:
        raise ClientError("this server has no tokenizer (--skip-tokenizer-init): send token ids.", "input")
    return service.tokenizer


async def pooled(
    request: Request, body: PoolingFields, service: Service, ids: Sequence[Ids], params: PoolingParams, public_id: str
) -> list[PoolingRequestOutput]:
    """Outputs in the order of `ids`; every input, or none if one is refused."""
    service.admit()
    streams = []
    try:
        for i, one in enumerate(ids):
            streams.append(await service.submit_pooling(request, body, one, params, public_id))
            if i % SUBMITTED_PER_TURN == SUBMITTED_PER_TURN - 1:
                await asyncio.sleep(0)  # others have their turn
        async with Guard(request.receive):
            return [await _only_output(stream) for stream in streams]
    finally:
        for stream in streams:
            stream.close()


async def _only_output(stream: PoolingStream) -> PoolingRequestOutput:
    async for output in stream:
        return output
    raise EngineError("the engine ended a request without an answer")


def prompt_tokens(outputs: Sequence[PoolingRequestOutput]) -> tuple[int, int]:
    """Tokens that ran, and how many of them came from the prefix cache."""
    return sum(len(o.prompt_token_ids) for o in outputs), sum(o.num_cached_tokens or 0 for o in outputs)


def _as_chat(body: InputFields) -> ChatRequest:
    return ChatRequest(
        messages=body.messages or [],
        add_generation_prompt=bool(body.add_generation_prompt),
        continue_final_message=body.continue_final_message,
        chat_template=body.chat_template,
        chat_template_kwargs=body.chat_template_kwargs,
    )


def _split(given: Input | None) -> list[str] | list[list[int]]:
    """One entry per input."""
    if given is None or given == []:
        raise ClientError("input must be a text, token ids, or a list of texts or of token ids.", "input")
    if isinstance(given, str):
        return [given]
    if len(given) > MAX_INPUTS:
        raise ClientError(f"input may hold at most {MAX_INPUTS} inputs, got {len(given)}.", "input")
    kinds = set(map(type, given))
    if kinds == {int}:
        return [given]  # type: ignore[return-value]
    if kinds in ({str}, {list}):
        return given  # type: ignore[return-value]
    raise ClientError("input must hold only texts, only token ids, or only lists of token ids.", "input")


def _shortened(ids: list[int], bounds: Bounds) -> list[int]:
    if bounds.most is None or len(ids) <= bounds.most:
        return ids
    return ids[: bounds.most] if bounds.side == "right" else ids[-bounds.most :]


class Writer:
    """Writes arrays as a request wants them.

    Raises:
        ClientError: a format that there is not.
    """

    def __init__(self, body: NumberFormat):
        self._text = (body.encoding_format or "float") == "base64"
        if not self._text and body.encoding_format not in (None, "float"):
            raise ClientError(
                f"encoding_format must be float or base64, got {body.encoding_format!r}.", "encoding_format"
            )
        self._dtype = body.embed_dtype or "float32"
        if self._dtype not in ("float32", "float16", "bfloat16"):
            raise ClientError(
                f"embed_dtype must be float32, float16 or bfloat16, got {body.embed_dtype!r}.", "embed_dtype"
            )
        order = body.endianness or "little"
        if order not in ("native", "big", "little"):
            raise ClientError(f"endianness must be native, big or little, got {body.endianness!r}.", "endianness")
        self._order = sys.byteorder if order == "native" else order

    def write(self, floats: Floats) -> list[Any] | str:
        """Lists of numbers, or base64 of them."""
        if not self._text:
            return floats.tolist()
        if self._dtype == "float32" and self._order == "little":
            return base64.b64encode(floats.raw).decode()
        numbers = Floats([len(floats.raw) // 4], floats.raw).tolist()
        mark = "<" if self._order == "little" else ">"
        if self._dtype == "bfloat16":
            return base64.b64encode(struct.pack(f"{mark}{len(numbers)}H", *_bfloat16(floats.raw))).decode()
        code = "f" if self._dtype == "float32" else "e"
        try:
            return base64.b64encode(struct.pack(f"{mark}{len(numbers)}{code}", *numbers)).decode()
        except OverflowError:
            raise ClientError("a number is too large for embed_dtype float16.", "embed_dtype") from None


def _bfloat16(raw: bytes) -> list[int]:
    """The upper halves of float32 numbers, rounded to the nearest, ties to even."""
    words = array("I", raw)
    if sys.byteorder == "big":
        words.byteswap()
    return [((w + 0x7FFF + (w >> 16 & 1)) >> 16) & 0xFFFF for w in words]
