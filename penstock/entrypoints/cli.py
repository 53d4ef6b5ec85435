"""The `penstock` command: a table of subcommands, each imported when it is called.

A subcommand is a function `command(argv) -> exit code`. What it raises as PenstockError becomes one line on stderr.
"""

from __future__ import annotations

import difflib
import os
import sys

from penstock import __version__
from penstock.errors import PenstockError
from penstock.plugins import load_object

# name: (function, what it does)
SUBCOMMANDS = {
    "serve": ("penstock.entrypoints.openai.api_server:serve_command", "serve a model over the OpenAI-compatible API"),
    "run": ("penstock.entrypoints.run:command", "answer one prompt and exit"),
    "chat": ("penstock.entrypoints.chat_cli:chat_command", "chat with the model of a running server"),
    "complete": ("penstock.entrypoints.chat_cli:complete_command", "complete prompts with a running server"),
    "bench": ("penstock.benchmarks.cli:command", "measure throughput, latency or a running server"),
    "collect-env": ("penstock.entrypoints.collect_env:command", "describe this machine for a bug report"),
}
# Subcommands of vLLM that this version lacks, and what to do instead.
MISSING = {
    "run-batch": "run-batch is not built into this version: send the lines of the file to a server, or use LLM.chat.",
    "launch": "launch is not built into this version: `penstock serve` renders and tokenizes prompts, too.",
    "download-kernels": "download-kernels is not needed: no kernels are downloaded.",
    "preload": "preload is not built into this version.",
    "snapshot": "snapshot is not built into this version.",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(_help())
        return 0
    if argv[0] in ("-v", "--version"):
        print(__version__)
        return 0
    if argv[0] not in SUBCOMMANDS:
        return _unknown(argv[0])
    try:
        return load_object(SUBCOMMANDS[argv[0]][0])(argv[1:])
    except PenstockError as e:
        print(f"penstock {argv[0]}: error: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # nobody reads our output any more, as behind `| head`; sockets have errors of their own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at exit
        return 141  # as a shell reports a process that wrote into a closed pipe


def _help() -> str:
    width = max(map(len, SUBCOMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, (_, what) in SUBCOMMANDS.items()]
    return "\n".join(
        [
            "usage: penstock [-h] [-v] COMMAND ...",
            "",
            "LLM inference and serving. `penstock serve` without a model serves the bundled one.",
            "",
            *lines,
            "",
            "`penstock COMMAND --help` describes a command; -v prints the version.",
        ]
    )


def _unknown(name: str) -> int:
    if name in MISSING:
        print(f"penstock: error: {MISSING[name]}", file=sys.stderr)
        return 2
    what = "option" if name.startswith("-") else "command"
    near = difflib.get_close_matches(name, SUBCOMMANDS, n=2)
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; commands: {', '.join(SUBCOMMANDS)}"
    print(f"penstock: error: unknown {what} {name!r}{hint}", file=sys.stderr)
    return 2
