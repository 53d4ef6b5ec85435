"""Beam search for requests: `use_beam_search` as a stream of outputs like any other, which says all at its end.

Every step of the search is one request of one token per beam; their prompts share prefixes, so the prefix cache holds
most of what they need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from penstock.engine.beam_search import BeamSearch, beam_outputs
from penstock.engine.input_processor import end_token_ids
from penstock.entrypoints.openai.types import SamplingFields
from penstock.errors import ClientError
from penstock.outputs import PositionLogprobs, RequestOutput
from penstock.params import BeamSearchParams, SamplingParams
from penstock.tokenizers.tokenizer import Tokenizer

if TYPE_CHECKING:
    from penstock.config.engine_config import ModelConfig
    from penstock.entrypoints.openai.service import OutputStream

Submit = Callable[[list[int], SamplingParams], Awaitable["OutputStream"]]

DEFAULT_MAX_TOKENS = 1 << 30  # a search without a limit goes on for as long as the context has room
# What changes probabilities or looks at text has no meaning here: the model's own probabilities decide.
REFUSED = (
    *("presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "allowed_token_ids", "bad_words"),
    *("stop", "structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar"),
    *("structural_tag", "logprob_token_ids", "repetition_detection"),
)
NEUTRAL = {"presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0}


def check_beams(request: SamplingFields) -> None:
    """Refuse a beam search with what it cannot honour, and beam search's fields without it."""
    if not request.use_beam_search:
        for name in ("length_penalty", "early_stopping"):
            if getattr(request, name) not in (None, False, 1.0):
                raise ClientError(f"{name} is for beam search: set use_beam_search.", name)
        return
    for name in REFUSED:
        value = getattr(request, name)
        if value and value != NEUTRAL.get(name):
            raise ClientError(f"{name} cannot be combined with beam search.", name)
    if (request.response_format or {}).get("type", "text") != "text":
        raise ClientError("response_format cannot be combined with beam search.", "response_format")


class BeamStream:
    """The answers of one beam search: a single output, when the search has ended.

    Args:
        first: the request of the prompt itself; its answer begins the search.
        search: not begun.
        submit: sends token ids to the engine.
        params: the request's: how many of the best sequences it wants, and how it wants to see them.
    """

    def __init__(
        self,
        first: OutputStream,
        search: BeamSearch,
        submit: Submit,
        params: SamplingParams,
        tokenizer: Tokenizer | None,
    ):
        self.prompt_token_ids = first.prompt_token_ids
        self._open = [first]
        self._search = search
        self._submit = submit
        self._params = params
        self._tokenizer = tokenizer
        self._over = False
        self._run: asyncio.Task[RequestOutput] | None = None

    def __aiter__(self) -> BeamStream:
        return self

    async def __anext__(self) -> RequestOutput:
        if self._over:
            raise StopAsyncIteration
        try:
            (answer,) = await self._take()
            self._search.update([_position(answer)])
            while not self._search.done:
                for beam in self._search.running:
                    ids = self.prompt_token_ids + beam.token_ids
                    self._open.append(await self._submit(ids, self._search.step_params()))
                self._search.update([_position(o) for o in await self._take()])
        finally:
            self._end()
        as_text = None if self._tokenizer is None else self._text
        answer.outputs = beam_outputs(self._search, self._params.n, self._tokenizer, as_text)
        if self._params.logprobs is None:
            for output in answer.outputs:
                output.logprobs = None
        return answer

    def _text(self, ids: list[int]) -> str:
        """As the engine would stream it behind the prompt."""
        tokenizer, params = self._tokenizer, self._params
        assert tokenizer is not None
        stream = tokenizer.text_stream(
            skip_special_tokens=params.skip_special_tokens,
            spaces_between_special_tokens=params.spaces_between_special_tokens,
            at_start=all(i in tokenizer.special_ids for i in self.prompt_token_ids),
            kept_ids=params.kept_special_token_ids or (),
        )
        return stream.feed(ids) + stream.finish()

    def listen(self, wake: Callable[[], None]) -> None:
        """Search; `wake` is called at the end."""
        self._run = asyncio.ensure_future(anext(self))
        self._run.add_done_callback(lambda _: wake())

    def take(self) -> RequestOutput | None:
        """The output, once, when it is there; raises what ended the search instead."""
        if self._run is None or not self._run.done():
            return None
        run, self._run = self._run, None
        return run.result()

    def close(self) -> None:
        """Abort what is open in the engine. Safe to call at any time."""
        if self._run is not None:
            self._run.cancel()
        self._end()

    def _end(self) -> None:
        self._over = True
        for stream in self._open:
            stream.close()
        self._open = []

    async def _take(self) -> list[RequestOutput]:
        """The answers of what is open, in order. They run together whatever the order in which they are read."""
        answers = [await anext(stream) for stream in self._open]
        self._open = []
        return answers


async def open_beams(
    submit_prompt: Callable[[SamplingParams], Awaitable[OutputStream]],
    submit: Submit,
    body: SamplingFields,
    params: SamplingParams,
    model: ModelConfig,
    tokenizer: Tokenizer | None,
) -> BeamStream:
    """Begin a search.

    Args:
        submit_prompt: sends the request's prompt. submit: sends ids that the engine has seen before.
        body, params: the request's; `params` for its sampling is used for its counts and limits only.

    Raises:
        ClientError: the request cannot be done; nothing was started.
    """
    if params.structured_outputs is not None:
        raise ClientError("a forced tool call cannot be combined with beam search.", "tool_choice")
    early = body.early_stopping
    beam_params = BeamSearchParams(
        beam_width=params.best_of or params.n,
        max_tokens=params.max_tokens or DEFAULT_MAX_TOKENS,
        ignore_eos=params.ignore_eos,
        length_penalty=1.0 if body.length_penalty is None else body.length_penalty,
        include_stop_str_in_output=params.include_stop_str_in_output,
        early_stopping=False if early is None else early,
        min_tokens=params.min_tokens,
    )
    search = BeamSearch(
        beam_params,
        eos_ids=end_token_ids(model.eos_token_ids, tokenizer),
        stop_token_ids=params.stop_token_ids or (),
        max_logprobs=model.max_logprobs,
        shown_logprobs=params.logprobs or 0,
    )
    first = await submit_prompt(search.step_params(params.prompt_logprobs))
    search.limit(model.max_model_len - len(first.prompt_token_ids))
    return BeamStream(first, search, submit, params, tokenizer)


def _position(output: RequestOutput) -> PositionLogprobs:
    logprobs = output.outputs[0].logprobs
    assert logprobs, "log probabilities were asked for"
    return logprobs[0]
