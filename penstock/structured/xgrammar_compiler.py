"""The process that compiles for xgrammar: `python -m penstock.structured.xgrammar_compiler`.

Reads one JSON object a line: first the vocabulary, then orders; answers each with one line. Its memory is bounded, and
whoever waits for it kills it when that takes too long. Ends with its standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MAX_MEMORY_BYTES = 1 << 30  # above what the process has when it is ready


def tokenizer_info(pieces: Sequence[bytes], eos_ids: Sequence[int]) -> Any:
    """The vocabulary as xgrammar knows it; a piece without bytes is a special token to it."""
    import xgrammar

    return xgrammar.TokenizerInfo(
        list(pieces), xgrammar.VocabType.RAW, vocab_size=len(pieces), stop_token_ids=list(eos_ids)
    )


def choice_grammar(choices: Sequence[str]) -> str:
    """One of some strings, as EBNF."""
    return "root ::= " + " | ".join('"' + "".join(f"\\U{ord(c):08x}" for c in choice) + '"' for choice in choices)


def compiled(compiler: Any, order: dict[str, Any]) -> Any:
    """One order, with xgrammar's own exceptions."""
    kind, text = order["kind"], order["text"]
    if kind == "json":
        if order["compact"]:
            return compiler.compile_json_schema(text, any_whitespace=False, separators=(",", ":"), strict_mode=False)
        return compiler.compile_json_schema(text, strict_mode=False, max_whitespace_cnt=64)
    if kind == "regex":
        return compiler.compile_regex(text)
    if kind == "tags":
        return compiler.compile_structural_tag(text)
    return compiler.compile_grammar(choice_grammar(json.loads(text)) if kind == "choice" else text)


def bound_memory() -> None:
    """From now on an allocation beyond the limit fails, and with it this process."""
    with contextlib.suppress(OSError, ValueError):  # not Linux
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + MAX_MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> int:
    import xgrammar

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    vocabulary = json.loads(sys.stdin.buffer.readline())
    info = tokenizer_info([bytes.fromhex(p) for p in vocabulary["pieces"]], vocabulary["eos_ids"])
    compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
    bound_memory()
    answer: dict[str, Any] = {"ready": True}
    while True:
        print(json.dumps(answer), file=answers, flush=True)
        line = sys.stdin.buffer.readline()
        if not line:
            return 0
        try:
            answer = {"compiled": compiled(compiler, json.loads(line)).serialize_json()}
        except Exception as e:  # boundary: whatever xgrammar says of a grammar is for whoever asked
            answer = {"error": str(e) or type(e).__name__}


if __name__ == "__main__":
    sys.exit(main())
