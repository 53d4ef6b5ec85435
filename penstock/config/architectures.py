"""The architectures that config.json may name: which family computes them, and what is on top.

A head is what follows the last layer: "vocabulary" (a logit for every token), "sequence" or "tokens" (a logit for every
label, of the whole text or of each token), "reward" (the same for each token, by two products), or "none".
"""

from __future__ import annotations

from typing import NamedTuple

DECODERS = ("Llama", "Mistral", "Qwen2", "Qwen3")
ENCODERS = ("Bert", "Roberta", "XLMRoberta", "DistilBert", "ModernBert")


class Architecture(NamedTuple):
    """What stands behind a name."""

    family: str
    head: str

    @property
    def is_encoder(self) -> bool:
        return self.family in ENCODERS


def _of(family: str, heads: dict[str, str]) -> dict[str, Architecture]:
    return {family + suffix: Architecture(family, head) for suffix, head in heads.items()}


_CLASSIFIERS = {"Model": "none", "ForSequenceClassification": "sequence", "ForTokenClassification": "tokens"}

ARCHITECTURES: dict[str, Architecture] = {
    **{n: a for f in DECODERS for n, a in _of(f, {"ForCausalLM": "vocabulary", **_CLASSIFIERS}).items()},
    **{n: a for f in ENCODERS for n, a in _of(f, {"ForMaskedLM": "none", **_CLASSIFIERS}).items()},
    **_of("Qwen2", {"ForRewardModel": "reward", "ForProcessRewardModel": "reward"}),
}
