"""The tokenizer agrees with transformers on the same folder, and reads all that a folder may say."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest
import tokenizer_makers
import transformers

from penstock.errors import ClientError, StartError
from penstock.tokenizers.tokenizer import Tokenizer

TEXTS = [
    *tokenizer_makers.TEXT,
    "",
    " leading and trailing ",
    "<|user|>hi<|eos|> <tool> x",
    "tab\there \u0000 nul \ud7ff",
    "a" * 3000,
]


@pytest.fixture(params=sorted(tokenizer_makers.MAKERS), scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokenizer_makers.save(tokenizer_makers.MAKERS[request.param](), tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("with_special", [True, False])
def test_encoding_agrees_with_transformers(folder: Path, with_special: bool) -> None:
    ours, theirs = Tokenizer.from_folder(folder), transformers.AutoTokenizer.from_pretrained(folder)
    expected = [theirs.encode(t, add_special_tokens=with_special) for t in TEXTS]
    assert [ours.encode(t, with_special) for t in TEXTS] == expected
    assert ours.encode_batch(TEXTS, with_special) == expected


@pytest.mark.parametrize("skip", [True, False])
def test_decoding_agrees_with_transformers(folder: Path, skip: bool) -> None:
    ours, theirs = Tokenizer.from_folder(folder), transformers.AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        ids = ours.encode(text)
        expected = theirs.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
        assert ours.decode(ids, skip) == expected


def test_facts_agree_with_transformers(folder: Path) -> None:
    ours, theirs = Tokenizer.from_folder(folder), transformers.AutoTokenizer.from_pretrained(folder)
    assert len(ours) == len(theirs)
    assert (ours.bos_token_id, ours.eos_token_id) == (theirs.bos_token_id, theirs.eos_token_id)
    assert ours.special_tokens == theirs.special_tokens_map
    assert ours.special_ids >= set(theirs.all_special_ids)
    assert ours.get_vocab() == theirs.get_vocab()


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("eos", [True, False])
def test_the_post_processor_decides_about_bos_and_eos(tmp_path: Path, bos: bool, eos: bool) -> None:
    folder = tokenizer_makers.save(tokenizer_makers.byte_level(), tmp_path, add_bos_token=bos, add_eos_token=eos)
    ours, theirs = Tokenizer.from_folder(folder), transformers.AutoTokenizer.from_pretrained(folder)
    ids = ours.encode("the cat")
    assert ids == theirs.encode("the cat")
    assert ids[0] == ours.bos_token_id
    assert ids[-1] != ours.eos_token_id


def test_tokens_that_only_the_config_names_are_added(tmp_path: Path) -> None:
    folder = tokenizer_makers.save(
        tokenizer_makers.byte_level(), tmp_path, pad_token="<pad>", extra_special_tokens=["<extra>"]
    )
    ours, theirs = Tokenizer.from_folder(folder), transformers.AutoTokenizer.from_pretrained(folder)
    assert ours.pad_token_id == theirs.pad_token_id is not None
    assert ours.encode("a<extra>b<pad>") == theirs.encode("a<extra>b<pad>")


def test_truncation_and_padding_of_the_file_are_not_used(tmp_path: Path) -> None:
    tokenizer = tokenizer_makers.byte_level()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=8)
    ours = Tokenizer.from_folder(tokenizer_makers.save(tokenizer, tmp_path))
    assert len(ours.encode("one two three four five six seven eight nine")) > 8
    assert len(ours.encode("a")) == 2
    assert [len(i) for i in ours.encode_batch(["a", "the cat sat"])] != [8, 8]


def test_chat_templates_of_a_folder(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]
    folder = tokenizer_makers.save(tokenizer_makers.byte_level(), tmp_path, chat_template=named)
    assert Tokenizer.from_folder(folder).chat_template == {"default": "D", "tool_use": "T"}
    (folder / "chat_template.jinja").write_text("J")
    assert Tokenizer.from_folder(folder).chat_template == "J"


def test_folders_without_a_tokenizer_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)  # as if it were not installed
    with pytest.raises(StartError, match=r"has no tokenizer\.json; install transformers"):
        Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(StartError, match=r"cannot read .*tokenizer\.json"):
        Tokenizer.from_folder(tmp_path)


def test_a_bad_config_says_so(tmp_path: Path) -> None:
    folder = tokenizer_makers.save(tokenizer_makers.byte_level(), tmp_path, added_tokens_decoder={"x": {}})
    with pytest.raises(StartError, match="bad list of added tokens"):
        Tokenizer.from_folder(folder)
    (folder / "tokenizer_config.json").write_text("[")
    with pytest.raises(StartError, match=r"cannot read .*tokenizer_config\.json"):
        Tokenizer.from_folder(folder)


def test_transformers_converts_what_has_no_tokenizer_json(tmp_path: Path) -> None:
    made = json.loads(tokenizer_makers.byte_level().to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(made["vocab"]))
    merges = [m if isinstance(m, str) else " ".join(m) for m in made["merges"]]
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges))
    config = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|eos|>", "unk_token": "<|eos|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    ours = Tokenizer.from_folder(tmp_path)
    assert ours.decode(ours.encode("the cat sat")) == "the cat sat"
    assert ours.eos_token_id is not None


def test_lone_surrogates_and_bad_ids_are_the_callers_fault(folder: Path) -> None:
    ours = Tokenizer.from_folder(folder)
    with pytest.raises(ClientError, match="not valid Unicode"):
        ours.encode("a\ud800b")
    with pytest.raises(ClientError, match="not valid Unicode"):
        ours.encode_batch(["a", "\udfff"])
    with pytest.raises(ClientError, match="token ids"):
        ours.decode([-1])
    with pytest.raises(ClientError, match="token ids"):
        ours.decode([2**32])
    assert ours.decode([10**6]) == ""
    assert ours.id_to_token(-5) is None


def test_a_long_text_does_not_hold_up_the_event_loop(bundled_model: Path) -> None:
    ours = Tokenizer.from_folder(bundled_model)

    async def longest_gap(text: str) -> tuple[float, float]:
        """Seconds that the encoding took, and the longest in which nothing else ran."""
        began = last = time.monotonic()
        gap = 0.0
        task = asyncio.create_task(ours.encode_async(text))
        while not task.done():
            await asyncio.sleep(0.002)
            gap, last = max(gap, time.monotonic() - last), time.monotonic()
        assert task.result() == ours.encode(text)
        return last - began, gap

    runs = [asyncio.run(longest_gap("word and 1234 " * 60_000)) for _ in range(3)]
    assert min(gap / took for took, gap in runs) < 0.7  # any one may meet a machine that stands still
    asyncio.run(longest_gap("the cat"))


def test_composed_characters_count_as_what_they_are_made_of(bundled_model: Path) -> None:
    ours = Tokenizer.from_folder(bundled_model)
    most = ours.max_chars_per_token
    assert most is not None
    for text in ("\u03b1\u0313\u0300\u0345" * 50, "e\u0301" * 50, "word" * 50):
        assert len(text) <= most * len(ours.encode(text))


@pytest.mark.parametrize("name", ["byte_level", "sentencepiece"])
def test_no_token_covers_more_characters_than_said(name: str) -> None:
    ours = Tokenizer(tokenizer_makers.MAKERS[name]())
    most = ours.max_chars_per_token
    assert most is not None
    for text in TEXTS:
        assert len(text) <= most * max(len(ours.encode(text, add_special_tokens=False)), 0)


@pytest.mark.parametrize(("name", "lead"), [("byte_level", ""), ("sentencepiece", " ")])
def test_bytes_of_tokens(name: str, lead: str) -> None:
    ours = Tokenizer(tokenizer_makers.MAKERS[name]())
    for text in tokenizer_makers.TEXT:
        ids = ours.encode(text, add_special_tokens=False)
        assert b"".join(ours.token_bytes(i) for i in ids) == (lead + text).encode()
    assert ours.token_bytes(10**6) == b""


def test_apply_chat_template_has_transformers_defaults(tmp_path: Path) -> None:
    source = "{% for m in messages %}{{ m.content ~ eos_token }}{% endfor %}{% if add_generation_prompt %}!{% endif %}"
    folder = tokenizer_makers.save(tokenizer_makers.byte_level(), tmp_path, chat_template=source)
    ours, theirs = Tokenizer.from_folder(folder), transformers.AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "user", "content": "hi"}]
    assert ours.apply_chat_template(chat, tokenize=False) == theirs.apply_chat_template(chat, tokenize=False)
    assert ours.apply_chat_template(chat, add_generation_prompt=True) == theirs.apply_chat_template(
        chat, add_generation_prompt=True, return_dict=False
    )
