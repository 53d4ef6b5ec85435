"""Small tokenizers of each family that models come with, made on the spot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXT = [
    "the cat sat on the mat and the dog sat on the log",
    "Hello there, how are you? I am fine. Numbers: 12 345 6789.",
    "naive cafe \u00e9t\u00e9 \u4f60\u597d \u4e16\u754c \u043f\u0440\u0438\u0432\u0435\u0442 \U0001f600\U0001f680",
    "def f(x):\n    return x + 1\n\n\n",
]
SPECIAL = ["<|bos|>", "<|eos|>", "<|user|>"]
BOS, EOS = SPECIAL[:2]


def byte_level() -> Tokenizer:
    """As GPT-2, Llama 3 and Qwen."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=SPECIAL,
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    ids = [(t, tokenizer.token_to_id(t)) for t in (BOS,)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=ids)
    return tokenizer


def _sentencepiece_model() -> Tokenizer:
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "\u2581")
    trainer = trainers.BpeTrainer(vocab_size=150, show_progress=False, limit_alphabet=60)
    trained.train_from_iterator(TEXT[:2], trainer)
    learned = json.loads(trained.to_str())["model"]
    names = ["<unk>", *SPECIAL, *(f"<0x{b:02X}>" for b in range(256)), *learned["vocab"]]
    vocab = {name: i for i, name in enumerate(dict.fromkeys(names))}
    merges = [tuple(m) for m in learned["merges"]]
    return Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))


def sentencepiece() -> Tokenizer:
    """As Llama 2 and Mistral: a space is a character of the vocabulary, other bytes fall back to <0xNN>."""
    tokenizer = _sentencepiece_model()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["<unk>", *SPECIAL])
    ids = [(BOS, tokenizer.token_to_id(BOS))]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=ids)
    return tokenizer


def metaspace() -> Tokenizer:
    """As T5 and other SentencePiece models without byte fallback."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", *SPECIAL], show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def word_piece() -> Tokenizer:
    """As BERT."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=["<unk>", *SPECIAL], show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


MAKERS = {"byte_level": byte_level, "sentencepiece": sentencepiece, "metaspace": metaspace, "word_piece": word_piece}


def save(tokenizer: Tokenizer, folder: Path, **settings: Any) -> Path:
    """Write a tokenizer as a model folder has it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS, **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder
