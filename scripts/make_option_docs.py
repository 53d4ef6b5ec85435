#!/usr/bin/env python3
"""Write docs/options.md from the declarations of options, flags of vLLM and environment variables."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from penstock import envs  # noqa: E402
from penstock.config import cli_help, compat  # noqa: E402
from penstock.config.options import Option, options_of  # noqa: E402
from penstock.config.sections import EngineArgs, ServerArgs  # noqa: E402

TARGET = ROOT / "docs" / "options.md"

HEAD = """# Options

Written by `scripts/make_option_docs.py` from `penstock/config/sections.py`, `penstock/config/compat.py` and
`penstock/envs.py`; a test keeps it equal to them.

- The engine's options are also keywords of `LLM(...)`, with underscores; all of them work for `penstock serve`.
- `--max_model_len` and `--max-model-len` are the same. A switch has a `--no-` form and takes `true` or `false`.
- Integers of tokens and bytes take suffixes: `k m g t` are powers of 1000, `K M G T` powers of 1024; `25.6k` is 25600.
- A JSON option may be written by dotted keys: `--hf-overrides.rope_theta 1e6`; `--hf-overrides.list+ a,b` appends to
  a list.
- `--config FILE.yaml` holds options by name: a map is a JSON option, a list several values, `true` a switch. The
  command line has precedence over the file.
- `--help` lists the groups; `--help=all`, `--help=Cache` and `--help=block` describe all, a group, or what a word
  is found in.
"""


def main() -> None:
    TARGET.write_text(text())


def text() -> str:
    """The whole page."""
    parts = [HEAD, "## Engine", *_sections(EngineArgs), "## Server", *_sections(ServerArgs), _variables(), _flags()]
    return "\n\n".join(p.strip() for p in parts) + "\n"


def _sections(cls: type) -> list[str]:
    options = options_of(cls)
    titles = dict.fromkeys(o.section for o in options)
    return [f"### {t}\n\n" + _table(o for o in options if o.section == t) for t in titles]


def _table(options: Iterable[Option]) -> str:
    rows = ["| option | default | what it does |", "|---|---|---|"]
    return "\n".join(rows + [_row(o) for o in options])


def _row(o: Option) -> str:
    default = cli_help.default_text(o.default)
    return f"| `{_cell(cli_help.spelling(o))}` | {f'`{default}`' if default else ''} | {_cell(o.help)} |"


def _variables() -> str:
    rows = ["## Environment", "", "| variable | default | what it does |", "|---|---|---|"]
    for v in envs.VARIABLES.values():
        names = ", ".join(f"`{s}`" for s in v.spellings)
        rows.append(f"| {names} | {'' if v.default is None else f'`{v.default}`'} | {_cell(v.help)} |")
    return "\n".join(rows)


def _flags() -> str:
    """The table of vLLM's flags that are no options here, one row for each reason."""
    by_help: dict[str, list[str]] = {}
    for row in compat.TABLE.values():
        by_help.setdefault(cli_help.row_help(row), []).append(f"`{row.flag}`")
    rows = [
        "## Flags of vLLM that are no options",
        "",
        "All of them are understood. Where it says that something is not built in, a value that asks for nothing (its "
        "default in vLLM, most often) is accepted, and any other value ends the start with that sentence.",
        "",
        "| flags | here |",
        "|---|---|",
    ]
    return "\n".join(rows + [f"| {', '.join(flags)} | {_cell(why)} |" for why, flags in by_help.items()])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
