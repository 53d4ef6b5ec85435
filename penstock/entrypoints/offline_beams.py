"""Beam search in the caller's process: every round asks the engine for one token of all beams of some prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock.engine.beam_search import BeamSearch, beam_outputs
from penstock.engine.input_processor import ParsedPrompt, end_token_ids
from penstock.engine.request_state import OpenRequest
from penstock.engine.sync_engine import SyncEngine
from penstock.outputs import BeamSearchOutput, BeamSearchSequence, PositionLogprobs
from penstock.params import BeamSearchParams

TokenizedPrompt = tuple[ParsedPrompt, list[int]]


class OfflineBeams:
    """Searches for several prompts.

    Args:
        engine: runs the steps.
        params: for all of them.
        check: called between steps; may raise to end the search.
    """

    def __init__(self, engine: SyncEngine, params: BeamSearchParams, check: Callable[[], None]):
        self._engine = engine
        self._params = params
        self._check = check

    def run(self, prompts: Sequence[TokenizedPrompt]) -> list[BeamSearchOutput]:
        """One output per prompt; all are searched for at the same time.

        Raises:
            ClientError: so many beams need more log probabilities than the engine gives.
        """
        searches = [self._search(ids) for _, ids in prompts]
        while open_ones := [(p, s) for p, s in zip(prompts, searches, strict=True) if not s.done]:
            self._round(open_ones)
        return [self._output(ids, s) for (_, ids), s in zip(prompts, searches, strict=True)]

    def _search(self, ids: list[int]) -> BeamSearch:
        model = self._engine.config.model
        search = BeamSearch(
            self._params,
            eos_ids=end_token_ids(model.eos_token_ids, self._engine.tokenizer),
            max_logprobs=model.max_logprobs,
        )
        search.limit(model.max_model_len - len(ids))
        return search

    def _round(self, searches: list[tuple[TokenizedPrompt, BeamSearch]]) -> None:
        requests: list[list[OpenRequest]] = []
        try:
            for (parsed, ids), search in searches:
                params = search.step_params()
                requests.append([self._engine.add(parsed, ids + b.token_ids, params) for b in search.running])
            positions = self._positions([r for group in requests for r in group])
        finally:
            self._engine.abort([r for group in requests for r in group])
        for (_, search), group in zip(searches, requests, strict=True):
            search.update([positions[id(r)] for r in group])

    def _positions(self, requests: list[OpenRequest]) -> dict[int, PositionLogprobs]:
        """Step until all have their token."""
        positions: dict[int, PositionLogprobs] = {}
        own = {id(r) for r in requests}
        while len(positions) < len(requests):
            self._check()
            for request in self._engine.step():
                if id(request) not in own:
                    continue  # another caller's
                output = request.take()
                assert output is not None, "a finished request has its last output"
                logprobs = output.outputs[0].logprobs
                assert logprobs, "log probabilities were asked for"
                positions[id(request)] = logprobs[0]
        return positions

    def _output(self, ids: list[int], search: BeamSearch) -> BeamSearchOutput:
        tokenizer = self._engine.tokenizer
        sequences = []
        for beam in beam_outputs(search, self._params.beam_width, tokenizer):
            text = None
            if tokenizer is not None:
                shown = beam.token_ids
                if beam.finish_reason == "stop" and not self._params.include_stop_str_in_output:
                    shown = shown[:-1]
                text = tokenizer.decode(ids + shown, skip_special_tokens=self._params.skip_special_tokens)
            sequences.append(
                BeamSearchSequence(
                    tokens=ids + beam.token_ids,
                    logprobs=beam.logprobs or [],
                    cum_logprob=beam.cumulative_logprob or 0.0,
                    text=text,
                    finish_reason=beam.finish_reason,
                    stop_reason=beam.stop_reason,
                )
            )
        return BeamSearchOutput(sequences)
