"""SamplingParams: wrong types and values are refused where they are written, by name."""

from __future__ import annotations

from typing import Any

import pytest

from penstock import SamplingParams
from penstock.errors import ClientError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "hot"),
        ("temperature", None),
        ("temperature", True),
        ("top_p", float("nan")),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", 1e300),
        ("repetition_penalty", 1e-300),
        ("top_k", 2.5),
        ("n", True),
        ("n", 2.0),
        ("seed", "1"),
        ("max_tokens", 1e3),
        ("min_tokens", None),
        ("logprobs", 1.0),
        ("stop", 5),
        ("stop", [None]),
        ("stop_token_ids", ["a"]),
        ("stop_token_ids", 7),
        ("allowed_token_ids", [1.5]),
        ("bad_words", "word"),
        ("bad_words", [3]),
        ("logit_bias", {"x": 1}),
        ("logit_bias", {1: "x"}),
        ("logit_bias", [1]),
        ("logit_bias", {1: float("inf")}),
    ],
)
def test_a_wrong_value_is_named(name: str, value: Any) -> None:
    with pytest.raises(ClientError, match=name) as caught:
        SamplingParams(**{name: value})
    assert caught.value.param == name


def test_what_users_write_is_accepted() -> None:
    params = SamplingParams(
        temperature=1, stop="x", logit_bias={"5": 500, 6: -1}, stop_token_ids=(1, 2), max_tokens=None
    )
    assert (params.stop, params.logit_bias) == (["x"], {5: 100.0, 6: -1.0})
