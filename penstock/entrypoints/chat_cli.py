"""`penstock chat` and `penstock complete`: talk to a running server from the terminal.

Reads lines, with history and editing on a terminal, and streams the answers. Knows nothing of engines.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from penstock import envs
from penstock.entrypoints.http_client import ServerClient, ServerError

DEFAULT_URL = "http://localhost:8000/v1"


def chat_command(argv: list[str]) -> int:
    """`penstock chat`: a conversation; the whole of it is sent with every message."""
    parser = _parser("penstock chat", "Chat with the model of a running server.", "message")
    parser.add_argument("--system-prompt", metavar="TEXT", help="what the model is told before the conversation")
    args = parser.parse_args(argv)
    messages: list[dict[str, str]] = []
    if args.system_prompt is not None:
        messages.append({"role": "system", "content": args.system_prompt})

    def ask(client: ServerClient, model: str, text: str) -> None:
        turn = [*messages, {"role": "user", "content": text}]
        body = {"model": model, "messages": turn}
        answer = _print_stream(client, "/chat/completions", body, args.stats)
        messages[:] = [*turn, {"role": "assistant", "content": answer}]

    return _session(args, "Please enter a message for the chat model:", ask)


def complete_command(argv: list[str]) -> int:
    """`penstock complete`: every line is a prompt of its own."""
    parser = _parser("penstock complete", "Complete prompts with the model of a running server.", "prompt")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="longest answer (default: the server's)")
    args = parser.parse_args(argv)

    def ask(client: ServerClient, model: str, text: str) -> None:
        body: dict[str, Any] = {"model": model, "prompt": text}
        if args.max_tokens is not None:
            body["max_tokens"] = args.max_tokens
        _print_stream(client, "/completions", body, args.stats)

    return _session(args, "Please enter prompt to complete:", ask)


def _parser(prog: str, description: str, what: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--url", default=DEFAULT_URL, help="base URL of the server (default: %(default)s)")
    parser.add_argument("--model-name", metavar="NAME", help="model to ask (default: the first that the server lists)")
    parser.add_argument("--api-key", metavar="KEY", help="default: the environment's OPENAI_API_KEY, else EMPTY")
    parser.add_argument("-q", "--quick", metavar="TEXT", help=f"send one {what}, print the answer and exit")
    parser.add_argument("--stats", action="store_true", help="print time to first token and tokens per second")
    return parser


def _session(args: argparse.Namespace, greeting: str, ask: Callable[[ServerClient, str, str], None]) -> int:
    """Ask for one answer (--quick), or for one per line until the input ends.

    Raises:
        ServerError: there is no server; or no answer to --quick.
    """
    _leave_quietly_on_signals()
    client = ServerClient(args.url, args.api_key or envs.OPENAI_API_KEY or "EMPTY")
    try:
        model = args.model_name or client.first_model()
        print(f"Using model: {model}", flush=True)
        if args.quick is not None:
            ask(client, model, args.quick)
            return 0
        print(greeting, flush=True)
        for line in _lines():
            try:
                ask(client, model, line)
            except ServerError as e:  # the next message may fare better
                print(f"\n{e}", file=sys.stderr, flush=True)
    finally:
        client.close()
    return 0


def _leave_quietly_on_signals() -> None:
    def leave(signum: int, frame: object) -> None:
        sys.exit(0)

    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGTSTP, leave)


def _lines() -> Iterator[str]:
    """Lines that the user enters after the prompt `> `, empty ones left out."""
    read = _terminal_reader() if sys.stdin.isatty() else lambda: input("> ")
    while True:
        try:
            line = read()
        except (EOFError, KeyboardInterrupt):
            return
        if line.strip():
            yield line


def _terminal_reader() -> Callable[[], str]:
    # Imported here: it takes a tenth of a second that --quick and pipes need not wait for.
    from prompt_toolkit import PromptSession
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    keys = KeyBindings()

    @keys.add("c-z")  # the terminal is in raw mode while a line is edited, so that the key sends no signal
    def leave(event: KeyPressEvent) -> None:
        event.app.exit(exception=EOFError())

    session: PromptSession[str] = PromptSession(key_bindings=keys)
    return lambda: session.prompt("> ")


def _print_stream(client: ServerClient, path: str, body: dict[str, Any], stats: bool) -> str:
    """Print an answer while it arrives, reasoning between <think> tags; return it without the reasoning."""
    body = {**body, "stream": True, "stream_options": {"include_usage": True}}
    answer: list[str] = []
    thinking = False
    start, first, tokens = time.perf_counter(), 0.0, 0
    for event in client.stream(path, body):
        tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
        for choice in event.get("choices") or []:
            delta = choice.get("delta") or {}
            reasoning = delta.get("reasoning") or delta.get("reasoning_content") or ""
            text = delta.get("content") or choice.get("text") or ""
            if (reasoning or text) and not first:
                first = time.perf_counter()
            if reasoning:
                _write(reasoning if thinking else f"<think>{reasoning}")
                thinking = True
            if text:
                _write(f"</think>{text}" if thinking else text)
                thinking = False
                answer.append(text)
    _write("</think>\n" if thinking else "\n")
    if stats:
        seconds = time.perf_counter() - start
        if first:
            print(f"TTFT: {1000 * (first - start):.2f} ms")
        print(f"TPS: {tokens / seconds:.2f} tokens/s ({tokens} tokens in {seconds:.2f} s)", flush=True)
    return "".join(answer)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
