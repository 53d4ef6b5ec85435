"""LLMEngine: the engine under `LLM`, step by step, with vLLM's names, for programs that drive it themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.config.compat import engine_args
from penstock.config.resolve import resolve
from penstock.config.sections import EngineArgs
from penstock.engine.input_processor import Prompt
from penstock.engine.request_state import OpenRequest
from penstock.engine.sync_engine import SyncEngine
from penstock.errors import ClientError
from penstock.outputs import RequestOutput
from penstock.params import SamplingParams
from penstock.tokenizers.tokenizer import Tokenizer


class LLMEngine:
    """A model, loaded, and the requests it works on.

    Args:
        engine: what runs them.
    """

    def __init__(self, engine: SyncEngine):
        self.engine = engine
        self._open: dict[str, OpenRequest] = {}

    @classmethod
    def from_engine_args(cls, args: EngineArgs | None = None, **options: Any) -> LLMEngine:
        """Load a model.

        Args:
            options: instead of `args`, as for `LLM`.

        Raises:
            StartError: it cannot be loaded with these options.
        """
        return cls(SyncEngine.from_config(resolve(args or engine_args(**options), usage="offline")))

    def add_request(
        self,
        request_id: str,
        prompt: Prompt,
        params: SamplingParams | None = None,
        arrival_time: float | None = None,
        lora_request: None = None,
        priority: int = 0,
    ) -> str:
        """Admit a request; `step` gives its outputs, as its `output_kind` says.

        Args:
            request_id: the caller's name for it, not in use.
            params: None for the model's defaults.
            arrival_time: not used: requests arrive when they are added.

        Returns:
            `request_id`.

        Raises:
            ClientError: the request cannot be done.
        """
        if lora_request is not None:
            raise ClientError("LoRA adapters are not part of this version.", "lora_request")
        if request_id in self._open:
            raise ClientError(f"there is a request {request_id!r} already.", "request_id")
        ((parsed, ids),) = self.engine.tokenize([prompt])
        self._open[request_id] = self.engine.add(parsed, ids, params, priority, request_id)
        return request_id

    def step(self) -> list[RequestOutput]:
        """Run one step; what is new of each request.

        Raises:
            EngineError: the engine failed on one of them, which is over then.
        """
        if any(not request.finished for request in self._open.values()):
            self.engine.step()
        outputs = []
        for request_id, request in list(self._open.items()):
            if request.finished:
                del self._open[request_id]
            output = request.take()
            if output is not None:
                outputs.append(output)
        return outputs

    def abort_request(self, request_id: str | Iterable[str]) -> None:
        """End requests without a further output; unknown ids are ignored."""
        ids = [request_id] if isinstance(request_id, str) else list(request_id)
        self.engine.abort([self._open.pop(i) for i in ids if i in self._open])

    def has_unfinished_requests(self) -> bool:
        return bool(self._open)

    def get_num_unfinished_requests(self) -> int:
        return len(self._open)

    def get_tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises ClientError: there is none."""
        return self.engine.need_tokenizer()

    def reset_prefix_cache(self) -> bool:
        """Forget cached prefixes; False, and nothing happens, while requests run."""
        return bool(self.engine.call("reset_prefix_cache"))

    def sleep(self, level: int = 1, mode: str = "abort") -> None:
        """See `LLM.sleep`."""
        self.engine.sleep(level, mode)

    def wake_up(self, tags: list[str] | None = None) -> bool:
        """See `LLM.wake_up`."""
        return self.engine.wake_up(tags)

    def is_sleeping(self) -> bool:
        return self.engine.is_sleeping()

    def shutdown(self) -> None:
        """Free the model's memory; nothing can be generated afterwards."""
        self.engine.shutdown()
