"""The options that choose parsers, as the parsers of one server."""

from __future__ import annotations

from penstock.config.sections import ServerArgs
from penstock.errors import StartError
from penstock.parsers.message import AUTO, AnswerParsers
from penstock.parsers.registry import REASONING_PARSERS, TOOL_PARSERS, load_plugin
from penstock.tokenizers.chat_template import ChatTemplate
from penstock.tokenizers.tokenizer import Tokenizer

NONE = "none"


def check_parsers(args: ServerArgs) -> None:
    """What of the options can be checked before there is a model.

    Raises:
        StartError: there is no parser of a name, a plug-in fails, or --enable-auto-tool-choice can find no parser.
    """
    for plugin in (args.tool_parser_plugin, args.reasoning_parser_plugin):
        if plugin:
            load_plugin(plugin)
    if args.tool_call_parser not in (AUTO, NONE):
        TOOL_PARSERS.get(args.tool_call_parser)
    if args.reasoning_parser and args.reasoning_parser != AUTO:
        REASONING_PARSERS.get(args.reasoning_parser)
    if args.enable_auto_tool_choice and args.tool_call_parser == NONE:
        raise StartError("--enable-auto-tool-choice needs a --tool-call-parser, and that is none.")


def answer_parsers(args: ServerArgs, template: ChatTemplate, tokenizer: Tokenizer | None) -> AnswerParsers:
    """
    Args:
        template: what chats are rendered with; "auto" looks into it.

    Raises:
        StartError: as `check_parsers`, or --enable-auto-tool-choice finds no parser.
    """
    check_parsers(args)
    reasoning = args.reasoning_parser or (AUTO if args.enable_reasoning else None)
    parsers = AnswerParsers(
        None if args.tool_call_parser == NONE else args.tool_call_parser,
        reasoning,
        template=template.tool_source,
        special_tokens=tuple(tokenizer.added_tokens.values()) if tokenizer is not None else (),
        unwritable=[tokenizer.added_tokens[i] for i in tokenizer.special_ids] if tokenizer is not None else (),
    )
    if args.enable_auto_tool_choice and parsers.tool is None:
        raise StartError(
            "--enable-auto-tool-choice needs --tool-call-parser: the chat template does not tell how this model calls "
            "tools."
        )
    return parsers
