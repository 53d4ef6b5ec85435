"""Run: one response while it is made: the conversation's answer goes into its output, and its state changes with it.

The same for a response that is waited for, streamed, or made in the background. Knows no HTTP and no store.
"""

from __future__ import annotations

import http
import time
from collections.abc import AsyncIterator

import msgspec

from penstock.entrypoints.openai.answers import ChatTokenLogprob
from penstock.entrypoints.openai.conversation import AnswerDelta, Conversation
from penstock.entrypoints.openai.errors import error_object
from penstock.entrypoints.openai.logprobs import chat_logprobs
from penstock.entrypoints.openai.responses_output import EventLog, Output
from penstock.entrypoints.openai.responses_request import ENCRYPTED, reasoning_summary
from penstock.entrypoints.openai.responses_types import (
    IncompleteDetails,
    InputTokensDetails,
    OutputTokensDetails,
    ResponseFailure,
    ResponseObject,
    ResponsesRequest,
    ResponseUsage,
)
from penstock.entrypoints.openai.spoken_tokens import Spoken

_encode = msgspec.json.Encoder().encode

LENGTH = "max_output_tokens"


class Run:
    """One response.

    Args:
        body: the request.
        key: the response's id without its prefix.
        conversation: open; it is closed when the response is finished, or given up.
        log: where the events of the stream go; None if there is none.

    Attributes:
        finished: it will not change any more.
    """

    def __init__(self, body: ResponsesRequest, key: str, conversation: Conversation, log: EventLog | None):
        self._conversation = conversation
        self._log = log
        self.finished = False
        self._top = body.top_logprobs or 0
        self._output = Output(
            key, log, summarize=reasoning_summary(body) is not None, seal=ENCRYPTED in (body.include or ())
        )
        self._response = _response(body, key, conversation)

    def json(self) -> bytes:
        """The response as it is now."""
        self._response.output = self._output.items()
        return _encode(self._response)

    async def steps(self) -> AsyncIterator[list[bytes]]:
        """Make the response; after each step, the new events of the stream (none without a log).

        Raises:
            EngineError, DeadlineError: the request failed. Call `fail` if there is nobody to raise it to.
        """
        try:
            if self._log is not None:
                yield self._announce(self._log)
            async for deltas in self._conversation:
                if self._response.status == "queued":
                    self._tell("in_progress")
                for delta in deltas:
                    self._take(delta)
                if self._log is not None:
                    new = self._log.take()
                    if new:
                        yield new
        finally:
            self._conversation.close()

    def fail(self, error: BaseException) -> list[bytes]:
        """It failed; the last events."""
        told = error_object(error)
        # "invalid_prompt" is what clients know for a request that is itself at fault.
        code = "invalid_prompt" if told.code < http.HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
        self._response.error = ResponseFailure(code, told.message)
        return self._end("failed")

    def cancel(self) -> list[bytes]:
        """It was cancelled; the last events."""
        return self._end("cancelled")

    def _announce(self, log: EventLog) -> list[bytes]:
        log.add("response.created", response=self._response)
        log.add("response." + self._response.status, response=self._response)
        return log.take()

    def _tell(self, status: str) -> None:
        self._response.status = status
        self._response.output = self._output.items()
        if self._log is not None:
            self._log.add("response." + status, response=self._response)

    def _take(self, delta: AnswerDelta) -> None:
        logprobs = [self._shown(spoken) for spoken in delta.spoken] if delta.spoken else ()
        self._output.feed(delta.events, logprobs)
        if delta.finish_reason == "abort":
            self._response.error = ResponseFailure("server_error", "The request was aborted.")
            self._end("failed", take=False)
        elif delta.finish_reason == "length":
            self._response.incomplete_details = IncompleteDetails(LENGTH)
            self._end("incomplete", take=False)
        elif delta.finish_reason is not None:
            self._end("completed", take=False)

    def _shown(self, spoken: Spoken) -> list[ChatTokenLogprob]:
        ids, logprobs = [i for i, _ in spoken], [p for _, p in spoken]
        return chat_logprobs(ids, logprobs, self._top, as_ids=False).content

    def _end(self, status: str, take: bool = True) -> list[bytes]:
        self._output.finish(status == "completed")
        if status == "completed":
            self._response.completed_at = int(time.time())
        self._response.usage = _usage(self._conversation)
        self.finished = True
        self._tell(status)
        return self._log.take() if take and self._log is not None else []


def _usage(conversation: Conversation) -> ResponseUsage:
    prompt, done = len(conversation.prompt_ids), conversation.completion_tokens
    return ResponseUsage(
        prompt,
        InputTokensDetails(conversation.cached_tokens or 0),
        done,
        OutputTokensDetails(conversation.reasoning_tokens),
        prompt + done,
    )


def _response(body: ResponsesRequest, key: str, conversation: Conversation) -> ResponseObject:
    params = conversation.params
    reasoning = body.reasoning or {}
    return ResponseObject(
        id="resp_" + key,
        created_at=int(time.time()),
        status="queued" if body.background else "in_progress",
        background=bool(body.background),
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        max_tool_calls=body.max_tool_calls,
        model=conversation.model,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        previous_response_id=body.previous_response_id,
        prompt_cache_key=body.prompt_cache_key,
        reasoning={"effort": None, "summary": None, **reasoning},
        safety_identifier=body.safety_identifier,
        store=body.store is not False,
        temperature=params.temperature,
        text={"format": {"type": "text"}, **{k: v for k, v in (body.text or {}).items() if v is not None}},
        tool_choice=body.tool_choice or "auto",
        tools=body.tools or [],
        top_logprobs=body.top_logprobs or 0,
        top_p=params.top_p,
        truncation=body.truncation or "disabled",
        user=body.user,
        metadata=body.metadata or {},
    )
