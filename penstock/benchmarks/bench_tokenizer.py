"""Whose tokenizer makes a benchmark's prompts, and the chat template that wraps them."""

from __future__ import annotations

from collections.abc import Callable

from penstock.config.hub import local_model_dir
from penstock.tokenizers.tokenizer import Tokenizer, chat_template_of


def load_tokenizer(model: str | None) -> Tokenizer:
    """The tokenizer of a folder or hub id; None is the bundled model's."""
    return Tokenizer.from_folder(local_model_dir(model, weights=False))


def chat_wrapper(tokenizer: Tokenizer) -> Callable[[str], str] | None:
    """A function that puts a user's message into the model's chat template; None if the model has none."""
    template = chat_template_of(tokenizer)
    if not template.exists:
        return None
    return lambda text: template.render([{"role": "user", "content": text}])
