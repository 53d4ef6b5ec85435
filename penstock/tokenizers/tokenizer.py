"""Tokenizer: text to ids and back, from a model folder's tokenizer.json and tokenizer_config.json.

Wraps the `tokenizers` package and agrees with transformers' AutoTokenizer on the same folder. Safe to use from several
threads. Knows nothing of requests; streams of ids become text in `text_stream.py`, messages become text in
`chat_template.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from penstock.errors import ClientError, StartError
from penstock.tokenizers.chat_template import ChatTemplate
from penstock.tokenizers.pieces import PieceTable
from penstock.tokenizers.text_stream import TextStream, make_text_stream

ENCODE_INLINE_CHARS = 4096  # longer texts are encoded on a thread: a millisecond or so of the event loop's time
NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class Tokenizer:
    """A model's tokenizer.

    Which tokens go around a text is for the post-processor of tokenizer.json to say; add_bos_token and add_eos_token
    of the config only matter to transformers when it converts other files.

    Args:
        backend: the tokenizer of the `tokenizers` package, with all its added tokens.
        special_tokens: name ("bos_token") -> text, as chat templates see them.
        chat_template: Jinja source, or several by name ("default", "tool_use", ...); None if the model has none.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        special_tokens: dict[str, str] | None = None,
        chat_template: str | dict[str, str] | None = None,
    ):
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self.special_tokens = special_tokens or {}
        self.chat_template = chat_template
        added = backend.get_added_tokens_decoder()
        self.added_tokens: dict[int, str] = {i: t.content for i, t in added.items()}
        self.special_ids: frozenset[int] = frozenset(i for i, t in added.items() if t.special)
        self.vocab_size: int = backend.get_vocab_size(with_added_tokens=True)
        self.bos_token_id = self._named_id("bos_token")
        self.eos_token_id = self._named_id("eos_token")
        self.pad_token_id = self._named_id("pad_token")

    @classmethod
    def from_folder(cls, folder: str | Path) -> Tokenizer:
        """Read a tokenizer from a local model folder.

        Raises:
            StartError: the folder has no tokenizer that can be read.
        """
        path = Path(folder)
        settings = _read_json(path / "tokenizer_config.json")
        named = _named_tokens(_read_json(path / "special_tokens_map.json")) | _named_tokens(settings)
        if (path / "tokenizer.json").is_file():
            backend = _load_backend(path / "tokenizer.json")
        else:
            backend, named = _convert_with_transformers(path, named)
        try:
            _add_missing_tokens(backend, settings, named)
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise StartError(f"{path / 'tokenizer_config.json'} has a bad list of added tokens: {e!r}") from e
        return cls(backend, named, _read_chat_template(path, settings))

    # Text to ids

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Ids of a text.

        Args:
            add_special_tokens: put the tokens around it that the model expects (usually the one that begins a text).

        Raises:
            ClientError: the text is not valid Unicode (a lone surrogate).
        """
        try:
            return self.backend.encode(text, add_special_tokens=add_special_tokens).ids
        except (UnicodeError, TypeError):
            raise _not_unicode() from None

    def encode_batch(self, texts: list[str], add_special_tokens: bool = True) -> list[list[int]]:
        """As `encode` for many texts, on all cores."""
        try:
            return [e.ids for e in self.backend.encode_batch_fast(texts, add_special_tokens=add_special_tokens)]
        except (UnicodeError, TypeError):
            raise _not_unicode() from None

    async def encode_async(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """As `encode`, without holding up the event loop for a long text."""
        if len(text) <= ENCODE_INLINE_CHARS:
            return self.encode(text, add_special_tokens)
        # As a batch: encoding a single text keeps Python's lock until it is done.
        (ids,) = await asyncio.to_thread(self.encode_batch, [text], add_special_tokens)
        return ids

    # Ids to text

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        """Text of ids; ids outside the vocabulary give nothing.

        Raises:
            ClientError: an id is negative or above 32 bits.
        """
        try:
            return self.backend.decode(ids, skip_special_tokens=skip_special_tokens)
        except (OverflowError, TypeError):
            raise ClientError("token ids must be integers in [0, 2**32).", "tokens") from None

    def text_stream(
        self,
        *,
        skip_special_tokens: bool = True,
        spaces_between_special_tokens: bool = True,
        at_start: bool = True,
        kept_ids: Collection[int] = (),
    ) -> TextStream:
        """A decoder for ids that come one after the other.

        Args:
            at_start: no visible text comes before; matters for tokenizers that drop a leading space.
            kept_ids: special tokens that are not skipped.
        """
        hidden = self.special_ids.difference(kept_ids) if skip_special_tokens else frozenset()
        raw = {} if skip_special_tokens or spaces_between_special_tokens else self.added_tokens
        return make_text_stream(self.backend, self.pieces, hidden, raw, at_start)

    @property
    def bos_token(self) -> str | None:
        return self.special_tokens.get("bos_token")

    @property
    def eos_token(self) -> str | None:
        return self.special_tokens.get("eos_token")

    @cached_property
    def pieces(self) -> PieceTable:
        """Bytes of every single token."""
        return PieceTable(self.backend)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes one token stands for, part of a character or not; b"" outside the vocabulary."""
        return self.pieces[token_id]

    def apply_chat_template(
        self,
        conversation: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None = None,
        *,
        chat_template: str | None = None,
        tokenize: bool = True,
        **options: Any,
    ) -> str | list[int]:
        """The prompt for a conversation, under the name and with the defaults that transformers' tokenizers have.

        Args:
            chat_template: source to use instead of the model's own.
            tokenize: return ids, not text.
            options: as for `ChatTemplate.render`; add_generation_prompt is off unless given.

        Raises:
            ClientError: as `ChatTemplate.render`.
        """
        template = ChatTemplate(chat_template or self.chat_template, self.special_tokens)
        text = template.render(conversation, tools, **{"add_generation_prompt": False, **options})
        return self.encode(text, add_special_tokens=False) if tokenize else text

    def id_to_token(self, token_id: int) -> str | None:
        """The token as the vocabulary spells it."""
        return self.backend.id_to_token(token_id) if 0 <= token_id < 2**32 else None

    def token_to_id(self, token: str) -> int | None:
        return self.backend.token_to_id(token)

    def get_vocab(self) -> dict[str, int]:
        """Token -> id, added tokens included."""
        return self.backend.get_vocab(with_added_tokens=True)

    @cached_property
    def max_chars_per_token(self) -> int | None:
        """No token covers more characters of a prompt than this; None where that cannot be said."""
        return self.pieces.max_chars

    def __len__(self) -> int:
        return self.vocab_size

    def _named_id(self, name: str) -> int | None:
        token = self.special_tokens.get(name)
        return None if token is None else self.backend.token_to_id(token)


def chat_template_of(tokenizer: Tokenizer | None) -> ChatTemplate:
    """The model's own template; `.exists` is false if it, or the tokenizer, has none."""
    return ChatTemplate(None) if tokenizer is None else ChatTemplate(tokenizer.chat_template, tokenizer.special_tokens)


def _not_unicode() -> ClientError:
    return ClientError("the text holds characters that are not valid Unicode (lone surrogates).", "prompt")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as e:
        raise StartError(f"cannot read {path}: {e}") from e
    if not isinstance(value, dict):
        raise StartError(f"{path} must hold a JSON object.")
    return value


def _load_backend(path: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as e:  # boundary: the package raises bare Exception for whatever it cannot read
        raise StartError(f"cannot read {path}: {e}") from e


def _text_of(token: Any) -> str | None:
    """A token of a config: a string, or an object with its text in "content"."""
    value = token.get("content") if isinstance(token, dict) else token
    return value if isinstance(value, str) else None


def _named_tokens(settings: dict[str, Any]) -> dict[str, str]:
    texts = {name: _text_of(settings.get(name)) for name in NAMED_TOKENS}
    return {name: text for name, text in texts.items() if text is not None}


def _add_missing_tokens(backend: tokenizers.Tokenizer, settings: dict[str, Any], named: dict[str, str]) -> None:
    """Add what tokenizer_config.json names and tokenizer.json lacks, as transformers does."""
    known = {(t.content, t.special) for t in backend.get_added_tokens_decoder().values()}
    listed = settings.get("added_tokens_decoder") or {}
    tokens = []
    for _, spec in sorted(listed.items(), key=lambda item: int(item[0])):
        flags = {k: bool(spec[k]) for k in ("single_word", "lstrip", "rstrip", "normalized", "special") if k in spec}
        if (spec["content"], flags.get("special", False)) not in known:
            tokens.append(tokenizers.AddedToken(spec["content"], **flags))
    present = {content for content, _ in known} | {t.content for t in tokens}
    extra = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    texts = list(named.values()) + [_text_of(t) for t in (extra if isinstance(extra, list) else extra.values())]
    for text in dict.fromkeys(t for t in texts if t):
        if text not in present:
            tokens.append(tokenizers.AddedToken(text, special=True, normalized=False))
    if tokens:
        backend.add_tokens(tokens)


def _read_chat_template(path: Path, settings: dict[str, Any]) -> str | dict[str, str] | None:
    """chat_template.jinja, else the config's own: one source, or a list of named ones."""
    file = path / "chat_template.jinja"
    more = {f.stem: f.read_text(encoding="utf-8") for f in sorted((path / "additional_chat_templates").glob("*.jinja"))}
    if file.is_file():
        main = file.read_text(encoding="utf-8")
        return {"default": main, **more} if more else main
    template = settings.get("chat_template")
    if template is None:
        template = _read_json(path / "chat_template.json").get("chat_template")
    if isinstance(template, list):
        return {t["name"]: t["template"] for t in template}
    return template


def _convert_with_transformers(path: Path, named: dict[str, str]) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
    """The fall-back for folders without tokenizer.json: let transformers convert what is there."""
    try:
        import transformers  # optional, and slow to import: only for such folders
    except ImportError:
        raise StartError(
            f"{path} has no tokenizer.json; install transformers to convert the tokenizer files it has."
        ) from None
    try:
        converted = transformers.AutoTokenizer.from_pretrained(str(path), trust_remote_code=False)
    except Exception as e:  # boundary: transformers raises many kinds for a folder it cannot read
        raise StartError(f"{path} has no tokenizer.json, and transformers cannot read its tokenizer: {e}") from e
    if not hasattr(converted, "backend_tokenizer"):
        raise StartError(f"{path} has no tokenizer.json, and its tokenizer cannot be converted to one.")
    texts = {k: v for k, v in converted.special_tokens_map.items() if isinstance(v, str)}
    return converted.backend_tokenizer, named | texts
