"""Log probabilities in the two shapes of OpenAI's API.

The sampled token's own value and its entry among the alternatives are the same number, bit for bit: clients compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock.entrypoints.openai.answers import (
    ChatLogprobs,
    ChatTokenLogprob,
    CompletionLogprobs,
    PromptLogprob,
    PromptLogprobs,
    TopLogprob,
)
from penstock.outputs import Logprob, PositionLogprobs

LOWEST = -9999.0  # stands for minus infinity, which JSON does not have


def chat_logprobs(
    token_ids: Sequence[int], logprobs: Sequence[PositionLogprobs], top: int, *, as_ids: bool
) -> ChatLogprobs:
    """One entry per token.

    Args:
        top: alternatives per token, the sampled one counted; -1 for all there are.
        as_ids: write tokens as "token_id:N".
    """
    content = []
    for token_id, position in zip(token_ids, logprobs, strict=True):
        token, value = _entry(token_id, position[token_id], as_ids)
        shown = _ranked(position, token_id, top)
        alternatives = [TopLogprob(t, v, list(t.encode())) for t, v in (_entry(i, p, as_ids) for i, p in shown)]
        content.append(ChatTokenLogprob(token, value, list(token.encode()), alternatives))
    return ChatLogprobs(content)


class CompletionLogprobsBuilder:
    """Collects tokens of one choice; a stream takes what is new with every chunk.

    Args:
        top: alternatives per token, besides the sampled one.
        as_ids: write tokens as "token_id:N".
        spell: text of a token id, for prompt tokens without logprobs.
    """

    def __init__(self, top: int, *, as_ids: bool, spell: Callable[[int], str]):
        self._top = top
        self._as_ids = as_ids
        self._spell = spell
        self._offset = 0
        self._new = CompletionLogprobs([], [], [], [])

    def add(self, token_ids: Sequence[int], logprobs: Sequence[PositionLogprobs | None]) -> None:
        """Append tokens; a position without logprobs (a prompt's first token) gets nulls."""
        out = self._new
        for token_id, position in zip(token_ids, logprobs, strict=True):
            if position is None:
                token = f"token_id:{token_id}" if self._as_ids else self._spell(token_id)
                out.token_logprobs.append(None)
                out.top_logprobs.append(None)
            else:
                token, value = _entry(token_id, position[token_id], self._as_ids)
                out.token_logprobs.append(value)
                out.top_logprobs.append(self._top_dict(token_id, position))
            out.tokens.append(token)
            out.text_offset.append(self._offset)
            self._offset += len(token)

    def take(self) -> CompletionLogprobs:
        """What was added since the last call."""
        new, self._new = self._new, CompletionLogprobs([], [], [], [])
        return new

    def _top_dict(self, token_id: int, position: PositionLogprobs) -> dict[str, float]:
        result: dict[str, float] = {}
        for i, logprob in _first(position, token_id, self._top + 1 if self._top >= 0 else -1):
            if i != token_id and self._top >= 0 and logprob.rank is not None and logprob.rank > self._top:
                continue
            token, value = _entry(i, logprob, self._as_ids)
            # Different ids may have the same text; the sampled one comes first and keeps it.
            result[f"token_id:{i}" if token in result else token] = value
        return result


def prompt_logprobs(positions: Sequence[PositionLogprobs | None] | None) -> PromptLogprobs | None:
    """vLLM's `prompt_logprobs` member: {token id: {logprob, rank, decoded_token}} per token."""
    if positions is None:
        return None
    return [
        None if p is None else {i: PromptLogprob(max(x.logprob, LOWEST), x.rank, x.decoded_token) for i, x in p.items()}
        for p in positions
    ]


def _entry(token_id: int, logprob: Logprob, as_ids: bool) -> tuple[str, float]:
    token = f"token_id:{token_id}" if as_ids or logprob.decoded_token is None else logprob.decoded_token
    return token, max(logprob.logprob, LOWEST)


def _first(position: PositionLogprobs, token_id: int, count: int) -> list[tuple[int, Logprob]]:
    """The sampled token, then the others, `count` in all."""
    items = [(token_id, position[token_id]), *((i, p) for i, p in position.items() if i != token_id)]
    return items if count < 0 else items[:count]


def _ranked(position: PositionLogprobs, token_id: int, count: int) -> list[tuple[int, Logprob]]:
    """`count` entries with the sampled token among them, the most likely first."""
    return sorted(_first(position, token_id, count), key=lambda item: -item[1].logprob)
