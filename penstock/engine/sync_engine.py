"""SyncEngine: the engine core in the caller's process, one step at a time.

The offline twin of `async_engine.py`: the same input and output processing around the same core, without sockets,
threads or an event loop. `entrypoints/llm.py` puts a friendly face on it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from penstock.config.engine_config import EngineConfig
from penstock.engine.core import EngineCore, build_core, loading
from penstock.engine.input_processor import InputProcessor, ParsedPrompt, Prompt
from penstock.engine.output_processor import OutputProcessor
from penstock.engine.pooling_request import Ids, OpenPooling, PoolingInputs
from penstock.engine.request_state import OpenRequest
from penstock.errors import ClientError
from penstock.observability.logging import get_logger
from penstock.observability.stats import StatsRecorder
from penstock.params import PoolingParams, SamplingParams
from penstock.tokenizers.tokenizer import Tokenizer

logger = get_logger(__name__)


class SyncEngine:
    """A core, and the requests it works on.

    Args:
        config: everything decided.
        tokenizer: None if there is none.
        core: as `build_core` makes it.
        stats: what is counted goes here; None counts nothing.

    Attributes:
        pooling: checks what `add_pooling` takes; None for a model that generates.
    """

    def __init__(
        self, config: EngineConfig, tokenizer: Tokenizer | None, core: EngineCore, stats: StatsRecorder | None = None
    ):
        self.config = config
        self.tokenizer = tokenizer
        self._core = core
        self._inputs = InputProcessor.for_model(config.model, tokenizer, config.structured)
        self.pooling = None if config.pooling is None else PoolingInputs(config)
        self.stats = stats
        self._outputs = OutputProcessor(stats)
        self._finished: list[OpenRequest] = []
        self._request_ids = itertools.count()

    @classmethod
    def from_config(
        cls,
        config: EngineConfig,
        on_progress: Callable[[str, float], None] | None = None,
        stats: StatsRecorder | None = None,
    ) -> SyncEngine:
        """Load the model.

        Args:
            on_progress: called with a word and the share of the loading done.

        Raises:
            StartError: options, files or memory do not allow it.
        """
        path = config.model.tokenizer_path
        with loading(config):
            tokenizer = None if path is None else Tokenizer.from_folder(path)
            core = build_core(config, on_progress or (lambda what, fraction: None))
        logger.info("%s", core.kv_explanation)
        return cls(config, tokenizer, core, stats)

    @property
    def num_unfinished(self) -> int:
        """Answers that are open."""
        return self._outputs.num_unfinished

    def default_sampling_params(self) -> SamplingParams:
        return self._inputs.default_sampling_params()

    def parse(self, prompt: Prompt) -> ParsedPrompt:
        """Take a prompt apart. Raises ClientError: it is none of the known forms."""
        return self._inputs.parse(prompt)

    def need_tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises ClientError: there is none."""
        return self._inputs.need_tokenizer()

    def tokenize(
        self, prompts: Sequence[Prompt], add_special_tokens: bool = True, truncate: int | None = None
    ) -> list[tuple[ParsedPrompt, list[int]]]:
        """Check prompts and tokenize all texts among them at once.

        Args:
            truncate: keep that many of a prompt's last tokens; -1 keeps what fits.

        Raises:
            ClientError: a prompt is of no known form, empty, too long or outside the vocabulary.
        """
        inputs = self._inputs
        parsed = [inputs.parse(p) for p in prompts]
        texts = [p.text for p in parsed if p.token_ids is None and p.text is not None]
        for text in texts:
            inputs.check_text(text, truncate is not None)
        encoded = iter(inputs.need_tokenizer().encode_batch(texts, add_special_tokens) if texts else ())
        result = []
        for prompt in parsed:
            ids = inputs.truncate(next(encoded) if prompt.token_ids is None else prompt.token_ids, truncate)
            inputs.check_ids(ids)
            result.append((prompt, ids))
        return result

    def add(
        self,
        prompt: ParsedPrompt,
        ids: list[int],
        params: SamplingParams | None,
        priority: int = 0,
        request_id: str | None = None,
    ) -> OpenRequest:
        """Admit a request with checked ids; it runs in the next steps.

        Args:
            request_id: a name for it; None for a number.

        Raises:
            ClientError: the parameters cannot be done.
        """
        params = self._inputs.complete_params(params)
        self._inputs.check_constraint(params)
        request, messages = self._inputs.open_request(
            request_id or str(next(self._request_ids)),
            prompt,
            ids,
            params,
            arrival_time=time.monotonic(),
            priority=priority,
        )
        request.on_output = lambda: self._finished.append(request) if request.finished else None
        self._outputs.add(request)
        for message in messages:
            self._core.add(message)
        return request

    def add_pooling(self, ids: Ids, params: PoolingParams) -> OpenPooling:
        """Admit a pooling request with checked ids and parameters completed by `pooling`."""
        assert self.pooling is not None
        request, message = self.pooling.open(str(next(self._request_ids)), ids, params, arrival_time=time.monotonic())
        request.on_output = lambda: self._finished.append(request) if request.finished else None
        self._outputs.add(request)
        self._core.add(message)
        return request

    def step(self) -> list[OpenRequest]:
        """Run one step; the requests that finished in it.

        Raises:
            ClientError: the engine is asleep, and would be for ever.
        """
        if self._core.is_sleeping():
            raise ClientError("The engine is asleep; call wake_up() first.")
        return self._step()

    def _step(self) -> list[OpenRequest]:
        outputs = self._core.step()
        aborts = self._outputs.process(outputs, time.monotonic())
        self._outputs.tell()
        if aborts:
            self._core.abort(aborts)
        if self.stats is not None:
            self._outputs.step_stats(self._core.stats())
        finished, self._finished = self._finished, []
        return finished

    def abort(self, requests: Iterable[OpenRequest]) -> None:
        """End requests; finished ones are left alone."""
        now = time.monotonic()
        core_ids = [i for r in requests for i in self._outputs.abort(r, now)]
        if core_ids:
            self._core.abort(core_ids)
        self._finished.clear()

    def on_workers(self, method: str | Callable[..., Any], *args: Any, **keywords: Any) -> list[Any]:
        """Run a method of every worker by its name, or a function of the worker; the answers in rank order.

        Raises:
            ClientError: workers have no such method.
        """
        return self._core.executor.call(method, *args, **keywords)

    def call(self, method: str, *args: Any) -> Any:
        """Run a method of the core (`EngineCore.CALLABLE`)."""
        return self._core.call(method, *args)

    def sleep(self, level: int, mode: str) -> None:
        """See `EngineCore.sleep`; with "wait", what runs finishes first."""
        try:
            while mode == "wait" and self.call("hold_new", level):
                self.step()
        except KeyboardInterrupt:  # nobody will sleep: let what waits run
            self.call("wake_up", [])
            raise
        self.call("sleep", level, mode)
        self._finished += self._step()  # those that were aborted

    def wake_up(self, tags: list[str] | None) -> bool:
        """Whether it is awake now; see `EngineCore.wake_up`."""
        return bool(self.call("wake_up", tags))

    def is_sleeping(self) -> bool:
        return self._core.is_sleeping()

    def shutdown(self) -> None:
        """Release the devices."""
        self._core.shutdown()
