"""POST /v1/messages/count_tokens: how long the prompt of a message would be, by the template and the tokenizer."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from penstock.entrypoints.anthropic.answers import TokenCount
from penstock.entrypoints.anthropic.chat_request import in_own_words, prompt_request
from penstock.entrypoints.anthropic.types import CountTokensRequest
from penstock.entrypoints.openai.body import read_body
from penstock.entrypoints.openai.chat_prompt import rendered
from penstock.entrypoints.openai.front import Front
from penstock.entrypoints.openai.tool_choice import check_tools
from penstock.errors import ClientError

_decoder = msgspec.json.Decoder(CountTokensRequest)


async def count_tokens(request: Request, front: Front) -> Response:
    """Handler of the route."""
    service = front.service
    body = await read_body(request, _decoder)
    service.check_model(body.model)
    if service.tokenizer is None:
        raise ClientError("this server has no tokenizer (--skip-tokenizer-init).")
    chat = prompt_request(body, service.parsers.reasoning is not None)
    try:
        check_tools(chat, can_read_calls=service.parsers.tool is not None)
        text = await rendered(chat, service)
    except ClientError as e:
        raise in_own_words(e) from None
    ids = await service.tokenizer.encode_async(text, False)
    return Response(msgspec.json.encode(TokenCount(len(ids))), media_type="application/json")
