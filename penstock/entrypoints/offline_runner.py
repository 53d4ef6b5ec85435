"""OfflineRunner: runs an engine's steps for callers that wait for their requests, one caller at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from penstock.engine.input_processor import Prompt
from penstock.engine.pooling_request import Ids, OpenPooling
from penstock.engine.request_state import OpenRequest
from penstock.engine.sync_engine import SyncEngine
from penstock.entrypoints.interrupt import InterruptBetweenSteps
from penstock.entrypoints.offline_arguments import Tokenization, one_each
from penstock.entrypoints.offline_beams import OfflineBeams
from penstock.entrypoints.progress_bar import Progress, ProgressBar
from penstock.errors import ClientError
from penstock.outputs import BeamSearchOutput, PoolingRequestOutput, RequestOutput
from penstock.params import BeamSearchParams, PoolingParams, RequestOutputKind, SamplingParams


class OfflineRunner:
    """Threads take turns: the engine steps for one of them.

    Args:
        engine: runs the steps.

    Attributes:
        turn: held by whoever uses the engine.
    """

    def __init__(self, engine: SyncEngine):
        self._engine = engine
        self._enqueued: list[OpenRequest] = []
        self.turn = threading.Lock()

    def run(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams],
        priority: Sequence[int] | int | None,
        how: Tokenization,
        use_tqdm: Progress,
    ) -> list[RequestOutput]:
        """Generate; one output per prompt.

        Args:
            params, priority: for all, or one for each prompt.
            how: texts become ids.

        Raises:
            ClientError: a prompt or parameter is not possible; nothing was generated then.
        """
        requests: list[OpenRequest] = []
        with self.turn, InterruptBetweenSteps() as interrupt:
            try:
                requests = self._admit(prompts, params, priority, how)
                self._finish(requests, use_tqdm, interrupt)
                return [output for r in requests if (output := r.take()) is not None]
            finally:
                self._engine.abort(requests)

    def enqueue(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams],
        priority: Sequence[int] | int | None,
        how: Tokenization,
    ) -> list[str]:
        """Admit them for `run_enqueued`; their ids. Errors are those of `run`."""
        with self.turn:
            requests = self._admit(prompts, params, priority, how)
            self._enqueued += requests
        return [r.request_id for r in requests]

    def run_enqueued(self, use_tqdm: Progress) -> list[RequestOutput]:
        """One output for each that is enqueued, in that order; an interrupt drops them."""
        with self.turn, InterruptBetweenSteps() as interrupt:
            requests, self._enqueued = self._enqueued, []
            try:
                self._finish(requests, use_tqdm, interrupt)
                return [output for r in requests if (output := r.take()) is not None]
            finally:
                self._engine.abort(requests)

    def run_pooling(
        self, inputs: Sequence[tuple[Ids, PoolingParams]], use_tqdm: Progress
    ) -> list[PoolingRequestOutput]:
        """Pool checked ids with completed parameters."""
        requests: list[OpenPooling] = []
        with self.turn, InterruptBetweenSteps() as interrupt:
            try:
                for ids, params in inputs:
                    requests.append(self._engine.add_pooling(ids, params))
                self._finish(requests, use_tqdm, interrupt)
                return [output for r in requests if (output := r.take_pooled()) is not None]
            finally:
                self._engine.abort(requests)

    def run_beams(
        self, prompts: Sequence[Prompt], params: BeamSearchParams, at_once: int | None, use_tqdm: Progress
    ) -> list[BeamSearchOutput]:
        """Search with beams.

        Args:
            at_once: prompts that are searched for at a time; None for all.
        """
        self._need_generation("beam_search")
        tokenized = self._engine.tokenize(prompts)
        group = at_once or max(len(tokenized), 1)
        bar = ProgressBar(len(tokenized), use_tqdm)
        results: list[BeamSearchOutput] = []
        with self.turn, InterruptBetweenSteps() as interrupt:
            beams = OfflineBeams(self._engine, params, interrupt.check)
            try:
                for start in range(0, len(tokenized), group):
                    found = beams.run(tokenized[start : start + group])
                    results += found
                    bar.add_plain(len(found))
            finally:
                bar.close()
        return results

    def _admit(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams],
        priority: Sequence[int] | int | None,
        how: Tokenization,
    ) -> list[OpenRequest]:
        """All of them, or none if one is refused."""
        self._need_generation("generate")
        each = one_each(params, len(prompts), "params")
        if wrong := [p for p in each if not isinstance(p, SamplingParams)]:
            raise ClientError(f"sampling_params must be SamplingParams, not {wrong[0]!r}.", "sampling_params")
        priorities = one_each(0 if priority is None else priority, len(prompts), "priorities")
        # One output at the end is all that anybody sees here. Many prompts often share one params object.
        final = {id(p): p.clone(output_kind=RequestOutputKind.FINAL_ONLY) for p in each}
        tokenized = self._engine.tokenize(prompts, how.add_special_tokens, how.truncate)
        requests: list[OpenRequest] = []
        try:
            for (parsed, ids), own, rank in zip(tokenized, each, priorities, strict=True):
                requests.append(self._engine.add(parsed, ids, final[id(own)], rank))
        except BaseException:  # passed on: whatever ends this, nothing may be left running
            self._engine.abort(requests)
            raise
        return requests

    def _need_generation(self, method: str) -> None:
        if self._engine.pooling is not None:
            raise ClientError(f"LLM.{method}() is only supported for generative models; this one pools.", "model")

    def _finish(self, requests: Sequence[OpenRequest], use_tqdm: Progress, interrupt: InterruptBetweenSteps) -> None:
        """Run steps until these are all finished.

        Raises:
            PenstockError: one of them failed.
        """
        left = {id(r) for r in requests if not r.finished}  # what is enqueued may run and end, too
        bar = ProgressBar(len(requests), use_tqdm)
        try:
            while left:
                interrupt.check()
                for request in self._engine.step():
                    if id(request) not in left:
                        continue
                    if request.error is not None:
                        raise request.error
                    left.remove(id(request))
                    bar.add(request)
        finally:
            bar.close()
