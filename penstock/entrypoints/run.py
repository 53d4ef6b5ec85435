"""`penstock run [MODEL] PROMPT`: answer one prompt with an engine in this process, and exit.

The answer is streamed to stdout, and nothing else is written there: the output can be piped.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from penstock.config.cli import OptionParser, engine_args
from penstock.config.hub import BUNDLED_NAME
from penstock.config.resolve import resolve
from penstock.config.sections import EngineArgs
from penstock.engine.sync_engine import SyncEngine
from penstock.errors import StartError
from penstock.observability import logging as our_logging
from penstock.params import RequestOutputKind, SamplingParams
from penstock.tokenizers.chat_template import read_template_option
from penstock.tokenizers.tokenizer import chat_template_of

RULE = """With two arguments the first is the model. A single one is the model if it is
a folder or looks like a hub id (owner/name), else the prompt, for --model or the
bundled model. Without a prompt, or with -, stdin is the prompt."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
SAMPLING = ("max_tokens", "temperature", "top_p", "top_k", "seed")


def command(argv: list[str]) -> int:
    """`penstock run`."""
    parser = _parser()
    args = parser.parse_args(argv)
    try:
        model, prompt = split_words(args.words, args.model)
    except ValueError as e:
        parser.error(str(e))
    options = engine_args(args)
    options.model = model
    our_logging.setup("warning")
    if prompt is None or prompt == "-":
        if sys.stdin.isatty():
            print("Please enter the prompt; Ctrl-D ends it.", file=sys.stderr)
        prompt = sys.stdin.read().strip()
    if not prompt:
        raise StartError("the prompt is empty.")

    engine = SyncEngine.from_config(resolve(options, usage="offline"))
    try:
        _answer(engine, prompt, args)
    finally:
        engine.shutdown()
    return 0


def split_words(words: list[str], model: str | None) -> tuple[str | None, str | None]:
    """(model, prompt) from the positional arguments and --model; None is the bundled model, or a prompt from stdin.

    Raises:
        ValueError: too many arguments.
    """
    if len(words) > 2 or (len(words) == 2 and model is not None):
        raise ValueError("expected [MODEL] PROMPT; a prompt of several words needs quotes")
    if len(words) == 2:
        return words[0], words[1]
    if not words:
        return model, None
    if model is None and _names_model(words[0]):
        return words[0], None
    return model, words[0]


def _names_model(text: str) -> bool:
    if HUB_ID.fullmatch(text) or text == BUNDLED_NAME:
        return True
    try:
        return Path(text).expanduser().is_dir()
    except (OSError, RuntimeError, ValueError):  # longer than a path may be, ~ of nobody, a null character
        return False


def _answer(engine: SyncEngine, prompt: str, args: argparse.Namespace) -> None:
    """Generate, and write each piece of text as soon as it is there."""
    text, is_chat = _prompt_text(engine, prompt, args)
    [(parsed, ids)] = engine.tokenize([text], add_special_tokens=not is_chat)
    request = engine.add(parsed, ids, _sampling(engine, args))
    try:
        while not request.finished:
            engine.step()
            output = request.take()
            if output is not None and output.outputs:
                sys.stdout.write(output.outputs[0].text)
                sys.stdout.flush()
    finally:
        engine.abort([request])
        sys.stdout.write("\n")


def _prompt_text(engine: SyncEngine, prompt: str, args: argparse.Namespace) -> tuple[str, bool]:
    """What the model is to continue, and whether that is a conversation in its chat template."""
    if engine.tokenizer is None:
        raise StartError("run needs a tokenizer: leave out --skip-tokenizer-init.")
    template = chat_template_of(engine.tokenizer)
    if args.chat_template is not None:
        template = template.replaced(read_template_option(args.chat_template))
    if args.raw or not template.exists:
        if args.system_prompt is not None:
            raise StartError("--system-prompt needs a chat template, which this model lacks or --raw leaves out.")
        return prompt, False
    messages = [{"role": "user", "content": prompt}]
    if args.system_prompt is not None:
        messages.insert(0, {"role": "system", "content": args.system_prompt})
    return template.render(messages), True


def _sampling(engine: SyncEngine, args: argparse.Namespace) -> SamplingParams:
    """The model's own defaults, and what the options say; no limit but the context if there is none."""
    changes: dict[str, Any] = {name: getattr(args, name) for name in SAMPLING}
    given = {name: value for name, value in changes.items() if value is not None}
    defaults = engine.default_sampling_params().clone(max_tokens=None, output_kind=RequestOutputKind.DELTA)
    return defaults.clone(**given)


def _parser() -> OptionParser:
    parser = OptionParser(EngineArgs, prog="penstock run", description=f"Answer one prompt and exit.\n\n{RULE}")
    parser.usage = "penstock run [MODEL] PROMPT [options]"
    add = parser.add_argument
    add("words", nargs="*", metavar="[MODEL] PROMPT", help="see above")
    add("--raw", action="store_true", help="continue the prompt as it is, without the chat template")
    add("--system-prompt", metavar="TEXT", help="what the model is told before the prompt")
    add("--chat-template", metavar="TEMPLATE", help="a file, or the template itself, instead of the model's own")
    add("--max-tokens", type=int, metavar="N", help="longest answer (default: what the context leaves)")
    add("--temperature", type=float, metavar="X", help="0 always takes the likeliest token (default: the model's)")
    add("--top-p", type=float, metavar="X", help="sample from the likeliest tokens of this probability together")
    add("--top-k", type=int, metavar="N", help="sample from this many tokens; 0: all")
    return parser
