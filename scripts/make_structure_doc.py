#!/usr/bin/env python3
"""Write the generated parts of docs/structure.md: the tree, with the first sentence of each file, and the layers.

scripts/make_structure_doc.py           rewrite them
scripts/make_structure_doc.py --check   exit 1 if they are out of date (tests/structure does the same)
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "penstock"
DOC = ROOT / "docs" / "structure.md"
WIDTH = 118
ROLE_COLUMN = 34

# Folder -> (layer, role). A module imports, at module level, only from its own folder and from smaller layers.
FOLDERS: dict[str, tuple[int, str]] = {
    "": (0, "public names, errors, what requests ask and answers hold, the environment, registries"),
    "platforms": (1, "facts about devices; streams, events, memory behind one interface"),
    "observability": (1, "logs, counters, Prometheus text"),
    "config": (2, "options and model files in, one frozen EngineConfig out"),
    "tokenizers": (3, "text to ids and back; chat templates"),
    "ops": (3, "one tensor operation per file, with its plain twin"),
    "ops/triton": (3, "Triton kernels of the ops, for GPUs; the only files, but attention's, that import triton"),
    "distributed": (3, "groups of ranks; the identity at size one"),
    "attention": (4, "paged attention behind one interface"),
    "quantization": (4, "how the weights of a linear layer are stored and multiplied"),
    "layers": (5, "the parts of a model; they shard and load themselves"),
    "loading": (6, "checkpoint files into layers, strictly"),
    "sampling": (6, "logits to tokens, for a whole batch"),
    "lora": (6, "adapters that wrap layers from outside"),
    "multimodal": (6, "media into model inputs"),
    "models": (7, "a model is a declaration over one shared decoder"),
    "speculative": (8, "draft tokens"),
    "structured": (8, "grammars that constrain the sampler"),
    "kvcache": (9, "which KV blocks belong to whom; no tensors"),
    "scheduler": (10, "what the next step computes; no tensors"),
    "worker": (11, "one device: runs a StepPlan, returns a StepResult"),
    "executor": (12, "where the workers are: in this process, or elsewhere"),
    "engine": (13, "requests in, text out: the core's loop, its process, its clients"),
    "parsers": (14, "tool calls and reasoning out of text"),
    "parsers/tool": (14, "one file per form of tool call"),
    "parsers/reasoning": (14, "one file per form of reasoning"),
    "entrypoints": (15, "the doors: command line, the LLM class, the server"),
    "entrypoints/anthropic": (15, "Anthropic's messages, a form over the conversations of entrypoints/openai"),
    "entrypoints/openai": (15, "the OpenAI-compatible server"),
    "benchmarks": (16, "load and measurements: `penstock bench`"),
}
LAYER_OF_FILE = {  # modules that are not in the layer of their folder
    "__main__.py": 16,
    "scheduler/plan.py": 1,  # where the two planes meet: plain data that both may import
}
LEAVES = {  # folders shown as a whole
    "assets": "the bundled model: weights, tokenizer, chat template",
    "csrc": "C++ kernels behind ops/",
}
BUILT = {".so", ".dylib", ".pyd"}
OTHER_FILES = {"py.typed": "Says to type checkers that the package is typed."}


def main() -> int:
    text = DOC.read_text(encoding="utf-8")
    wanted = filled(text)
    if "--check" in sys.argv[1:]:
        print("up to date" if text == wanted else "docs/structure.md is out of date: run scripts/make_structure_doc.py")
        return int(text != wanted)
    DOC.write_text(wanted, encoding="utf-8")
    return 0


def filled(text: str) -> str:
    """The document with its generated parts as they should be."""
    for name, body in (("tree", "```text\n" + tree() + "\n```"), ("layers", layers())):
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        head, _, rest = text.partition(begin)
        _, found_end, tail = rest.partition(end)
        assert found_end, f"docs/structure.md lacks the marks of its generated part {name!r}"
        text = head + begin + body + "\n" + end + tail
    return text


def tree() -> str:
    """Every file with its role, folders before files."""
    return "\n".join(_folder(PACKAGE, 0))


def layers() -> str:
    """One line per layer."""
    rows: dict[int, list[str]] = {}
    for folder, (layer, _) in FOLDERS.items():
        if "/" not in folder and (PACKAGE / folder).is_dir():
            rows.setdefault(layer, []).append(f"`{folder}`" if folder else "the modules of `penstock/` itself")
    lines = [f"| {layer} | {', '.join(names)} |" for layer, names in rows.items()]
    return "\n".join(["| layer | packages |", "|---|---|", *lines])


def _folder(path: Path, depth: int) -> list[str]:
    name = path.relative_to(PACKAGE).as_posix() if depth else ""
    lines = _entry(path.name + "/", LEAVES.get(name) or FOLDERS[name][1], depth)
    if name in LEAVES:
        return lines
    children = [p for p in path.iterdir() if p.name != "__pycache__" and p.suffix not in BUILT]
    order = {folder: i for i, folder in enumerate([*FOLDERS, *LEAVES])}
    folders = [p for p in children if p.is_dir()]
    for folder in sorted(folders, key=lambda p: order.get(p.relative_to(PACKAGE).as_posix(), len(order))):
        lines += _folder(folder, depth + 1)
    for file in sorted(p for p in children if p.is_file()):
        if file.stat().st_size or file.name != "__init__.py":  # an empty __init__.py says only that this is a package
            lines += _entry(file.name, role(file), depth + 1)
    return lines


def role(file: Path) -> str:
    """First sentence of a module's docstring."""
    if file.suffix != ".py":
        return OTHER_FILES[file.name]
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert docstring, f"{file.relative_to(ROOT)} has no docstring that says what it is for"
    first = re.split(r"(?<=[.;])\s|\n\n", docstring.strip(), maxsplit=1)[0]
    return " ".join(first.split()).rstrip(".;:")


def _entry(name: str, role: str, depth: int) -> list[str]:
    left = "  " * depth + name
    if len(left) >= ROLE_COLUMN:
        left += " "
    lines = textwrap.wrap(role, WIDTH - ROLE_COLUMN, break_long_words=False, break_on_hyphens=False)
    first, *rest = lines
    return [f"{left:<{ROLE_COLUMN}}{first}", *(" " * ROLE_COLUMN + line for line in rest)]


if __name__ == "__main__":
    sys.exit(main())
