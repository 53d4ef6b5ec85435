"""Pace: how many prompt tokens a step may take while others wait for their next token.

A step's time is the time between two tokens of everyone who is decoding. Prompts run in pieces that let a step last
about as long as it should on this machine, judged by the steps before. No result depends on how a prompt is cut.
"""

from __future__ import annotations

_FIRST_PIECE = 256  # tokens, as long as nothing has been measured
_LEAST_PIECE = 64  # fewer would leave a step with little to do but to read the weights
_ROUND_TO = 32
_NEWEST_SHARE = 0.5  # of the newest measurement in the average


class Pace:
    """
    Args:
        step_seconds: how long a step may last, about, while some decode; None for no limit.

    Attributes:
        piece: prompt tokens of such a step, at most; None for no limit.
    """

    def __init__(self, step_seconds: float | None):
        self._step_seconds = step_seconds
        self._token_seconds = 0.0
        self.piece = None if step_seconds is None else _FIRST_PIECE

    def took(self, num_tokens: int, seconds: float) -> None:
        """A step with a piece of a prompt ran so many tokens in that time."""
        if self._step_seconds is None or num_tokens < _LEAST_PIECE or seconds <= 0.0:
            return
        newest, average = seconds / num_tokens, self._token_seconds or seconds / num_tokens
        self._token_seconds = average + _NEWEST_SHARE * (newest - average)
        fitting = int(self._step_seconds / self._token_seconds)
        self.piece = max(_LEAST_PIECE, fitting - fitting % _ROUND_TO)
