"""The exception tree. A class knows whose fault it is and which HTTP status tells a client so.

    PenstockError
      ClientError (a ValueError)        400  the caller sent something that cannot be done
        NotFoundError                   404  no such model, route or response
        ContextLengthError              400  the prompt does not fit the context
        UnsupportedError                501  a real feature that this model or build does not have
      DeadlineError                     408  the request waited or ran longer than its deadline
      RetryLaterError                        not now, but soon; the answer says when to try again
        OverloadedError                 429  the queue is full
        NotReadyError                   503  the model is loading or the server is stopping
      EngineError                       500  the engine failed while it worked on the request
        EngineDeadError                 500  the engine is gone
      StartError (a ValueError)         none the server or LLM cannot start with these options or files

A broken invariant of our own is an ``assert`` or a plain exception, never one of these.
"""

from __future__ import annotations


class PenstockError(Exception):
    """Base of everything that Penstock raises on purpose."""

    status = 500
    kind = "InternalServerError"  # the `type` member of an OpenAI error object


class ClientError(PenstockError, ValueError):
    """The caller asked for something impossible.

    Args:
        message: one sentence that says what is wrong and what would be right.
        param: name of the request field or option at fault, if there is one.
        value: the offending value; appended to the message with the parameter, as clients of vLLM expect.
    """

    status = 400
    kind = "BadRequestError"

    def __init__(self, message: str, param: str | None = None, value: object = None):
        if param is not None and value is not None:
            message = f"{message} (parameter={param}, value={value})"
        super().__init__(message)
        self.message = message
        self.param = param


class NotFoundError(ClientError):
    """The named thing does not exist."""

    status = 404
    kind = "NotFoundError"


class ContextLengthError(ClientError):
    """The prompt leaves no room for an answer in the model's context."""


class UnsupportedError(ClientError):
    """A feature that exists elsewhere, but not with this model or in this build."""

    status = 501
    kind = "NotImplementedError"


class DeadlineError(PenstockError):
    """The request's deadline passed before it was answered."""

    status = 408
    kind = "TimeoutError"


class RetryLaterError(PenstockError):
    """Not now, but soon.

    Args:
        message: one sentence for the client.
        retry_after_s: seconds after which a retry is sensible.
    """

    def __init__(self, message: str, retry_after_s: float = 1.0):
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OverloadedError(RetryLaterError):
    """The queue is full."""

    status = 429
    kind = "RateLimitError"


class NotReadyError(RetryLaterError):
    """The server is loading its model or is stopping."""

    status = 503
    kind = "ServiceUnavailableError"


class EngineError(PenstockError):
    """The engine failed while it worked on this request; other requests go on."""


class EngineDeadError(EngineError):
    """The engine process is gone; nothing that was in flight can finish."""


class StartError(PenstockError, ValueError):
    """The options, the model's files or the machine do not allow a start. One sentence says why."""
