"""What crosses between a front (API server, LLM) and an engine core, as msgspec structs; never pickle.

Front to core: Start, AddRequest, AbortRequests, Call, Shutdown. Core to front: Hello, Loading, Ready, CoreOutputs,
CallReply, CoreFailed. A core process says Hello, gets a Start, and reports Loading until it is Ready or CoreFailed.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.config.engine_config import EngineConfig
from penstock.params import PoolingParams, SamplingParams
from penstock.scheduler.plan import EngineOutput, SchedulerStats

SLEEP_MODES = ("abort", "wait", "keep")  # what becomes of requests that run
SLEEP_PARTS = ("weights", "kv_cache")
SCHEDULING = "scheduling"  # beside them, as a tag: asks for no memory


class Start(msgspec.Struct, tag="start", array_like=True):
    """The first message to a core: what to load."""

    config: EngineConfig
    log_level: str = "info"


class AddRequest(msgspec.Struct, tag="add", array_like=True):
    """A tokenized request. Ids are made by the front and are unique in its lifetime.

    Attributes:
        params: n is 1 and seed is set; the fan-out happened in the front.
        arrival_time: monotonic seconds.
        priority: lower runs first under the priority policy.
        cache_salt: requests share cached prefixes only with the same salt.
        deadline: monotonic seconds after which it is not started any more; None for never.
        pooling: for a request that pools and generates nothing.
    """

    request_id: str
    prompt_token_ids: list[int]
    params: SamplingParams
    arrival_time: float
    priority: int = 0
    cache_salt: str | None = None
    deadline: float | None = None
    pooling: PoolingParams | None = None


class AbortRequests(msgspec.Struct, tag="abort", array_like=True):
    """Stop these; unknown ids are ignored. No output follows for them."""

    request_ids: list[str]


class Call(msgspec.Struct, tag="call", array_like=True):
    """Run a named method of the engine core; one of `EngineCore.CALLABLE`."""

    call_id: int
    method: str
    args: list[Any] = []


class Shutdown(msgspec.Struct, tag="shutdown", array_like=True):
    """Stop the process; what is in flight is dropped."""


ToCore = Start | AddRequest | AbortRequests | Call | Shutdown


class Hello(msgspec.Struct, tag="hello", array_like=True):
    """The first message of a core: the process lives and is connected."""


class Loading(msgspec.Struct, tag="loading", array_like=True):
    """Progress of the start, 0..1, with a word for the log."""

    what: str
    fraction: float


class Ready(msgspec.Struct, tag="ready", array_like=True):
    """The model is loaded and the KV pool exists, with so many blocks."""

    num_blocks: int


class CoreOutputs(msgspec.Struct, tag="outputs", array_like=True, gc=False):
    """Outputs of one step, and a stats snapshot."""

    outputs: list[EngineOutput]
    stats: SchedulerStats | None = None


class CallReply(msgspec.Struct, tag="reply", array_like=True):
    """Answer to a Call: a result, or an error text."""

    call_id: int
    result: Any = None
    error: str | None = None


class CoreFailed(msgspec.Struct, tag="failed", array_like=True):
    """The core cannot start or go on. `is_start_error` marks a user's mistake: print the sentence, no traceback."""

    error: str
    is_start_error: bool = False


FromCore = Hello | Loading | Ready | CoreOutputs | CallReply | CoreFailed
