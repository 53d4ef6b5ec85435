"""Help texts for the options: a list of groups, one group, or what a word is found in."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable
from typing import Any

from penstock.config import compat
from penstock.config.options import Option

MIN_WIDTH, MAX_WIDTH = 60, 110
INDENT = 6
# What vLLM calls the groups in --help=GROUP, without "Config".
GROUP_NAMES = {
    "observability": ("Logging", "Statistics"),
    "frontend": ("Network", "Access", "Limits", "API", "Logging"),
}


def epilog(options: Iterable[Option]) -> str:
    """The groups, for the end of a short help."""
    groups: dict[str, list[str]] = {}
    for o in options:
        groups.setdefault(o.section, []).append(o.flag)
    lines = ["options, by group:"]
    width = max(map(len, groups))
    for title, flags in groups.items():
        body = textwrap.wrap(" ".join(flags), _columns() - width - 4, break_on_hyphens=False)
        lines += [f"  {title if i == 0 else '':<{width}}  {line}" for i, line in enumerate(body)]
    return "\n".join([*lines, "", "--help=all, --help=GROUP or --help=WORD describes them."])


def topic(word: str, options: Iterable[Option]) -> str:
    """What --help=WORD prints: everything, a group, or the options that have the word in name or help."""
    options = list(options)
    key = word.lower().removesuffix("config").lstrip("-").replace("_", "-")
    if key == "listgroup":
        return epilog(options)
    if key == "all":
        return _sections(options)
    titles = GROUP_NAMES.get(key) or [o.section for o in options if o.section.lower() == key]
    found = [o for o in options if o.section in titles]
    if not found:
        found = [o for o in options if key in o.flag or key in " ".join(o.flags) or key in o.help.lower()]
    rows = [r for r in compat.TABLE.values() if key in r.flag] if not titles else []
    if not found and not rows:
        return f"No option has {word!r} in its name or its help.\n\n{epilog(options)}"
    text = [_sections(found)] if found else []
    if rows:
        text.append("Flags of vLLM:\n" + "\n".join(f"  {r.flag}\n      {row_help(r)}" for r in rows))
    return "\n\n".join(text)


def row_help(row: compat.Row) -> str:
    """One line on a flag of vLLM that is no option here."""
    if row.verdict == "mapped":
        return f"Another way to write {row.why}."
    if row.verdict == "holds":
        return f"Always so: {row.why}."
    if row.verdict == "accepted":
        return f"Has no effect: {row.why}."
    return f"Not built into this version: {row.why}."


def spelling(o: Option) -> str:
    """The flag with its other spellings and the form of its value."""
    if o.kind == "bool":
        return ", ".join([o.flag, "--no-" + o.flag[2:], *o.flags])
    value = {"strs": "TEXT [TEXT ...]", "json": "JSON", "human": "N", "int": "N", "float": "X", "str": "TEXT"}[o.kind]
    if o.choices is not None:
        value = "{" + ",".join(map(str, o.choices)) + "}"
    return ", ".join([f"{o.flag} {value}", *o.flags])


def default_text(value: Any) -> str:
    """A default as the command line would have it; "" for none."""
    if value is None or value == [] or value == "":
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _columns() -> int:
    """Of the terminal, within reason; a pipe gets long lines."""
    return min(MAX_WIDTH, max(MIN_WIDTH, shutil.get_terminal_size((MAX_WIDTH, 24)).columns - 1))


def _sections(options: list[Option]) -> str:
    titles = dict.fromkeys(o.section for o in options)
    return "\n\n".join(f"{t}:\n" + "\n".join(_entry(o) for o in options if o.section == t) for t in titles)


def _entry(o: Option) -> str:
    default = default_text(o.default)
    text = o.help + (f" (default: {default})" if default and "Default" not in o.help else "")
    pad = " " * INDENT
    return f"  {spelling(o)}\n" + textwrap.fill(
        text, _columns(), initial_indent=pad, subsequent_indent=pad, break_on_hyphens=False
    )
