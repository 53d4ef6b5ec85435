"""The command line of options: built from sections and the table of vLLM's flags, with a YAML file under it.

Precedence: command line, then --config file, then default. Knows no option by name but --model and --config. Imports
nothing heavy: a parser with all options is built in a few milliseconds.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from penstock.config import cli_help, compat
from penstock.config.merge import deep_merge
from penstock.config.options import Option, options_of, parse_text
from penstock.config.sections import EngineArgs, ServerArgs
from penstock.errors import StartError

_GIVEN = "_given"  # member of the namespace: options by name that somebody gave


class OptionParser(argparse.ArgumentParser):
    """An argument parser that knows the options of some classes and every flag of vLLM.

    Arguments of a command's own are added with `add_argument`; `parse_args` sets every option in the namespace.

    Args:
        classes: EngineArgs, ServerArgs or both.
        model_argument: take the model as a positional argument, too.
    """

    def __init__(self, *classes: type, prog: str, description: str = "", model_argument: bool = False):
        super().__init__(prog=prog, description=description, add_help=False, conflict_handler="resolve")
        self.options: dict[str, Option] = {o.name: o for cls in classes for o in options_of(cls)}
        self.usage = f"{prog} {'[MODEL] ' if model_argument else ''}[options]"
        self.epilog = cli_help.epilog(self.options.values())
        self.formatter_class = argparse.RawDescriptionHelpFormatter
        rows = [r.as_option() for r in compat.TABLE.values() if r.name not in self.options]
        self._derived = {**self.options, **{r.name: r for r in rows}}
        self._by_flag: dict[str, Option] = {}
        for o in self._derived.values():
            self._by_flag |= dict.fromkeys((o.flag, *o.flags), o)
            _add(self, o)
        self.add_argument("-h", "--help", nargs="?", const="", metavar="GROUP|WORD|all", help="more help on a part")
        self.add_argument("--config", metavar="FILE", help="YAML file of options; the command line has precedence")
        if model_argument:
            self.add_argument("model_tag", nargs="?", metavar="MODEL", help="as --model")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """The namespace: the command's own arguments, and every option with its value.

        An argument that cannot be understood ends the program with exit code 2.

        Raises:
            StartError: a flag of vLLM asks for something that this version does not have.
        """
        argv = self._normalise(sys.argv[1:] if args is None else args)
        self._warn_of_repeats(argv)
        parsed, unknown = super().parse_known_args(argv, namespace)
        if parsed.help is not None:
            print(self.format_help() if parsed.help == "" else cli_help.topic(parsed.help, self.options.values()))
            self.exit()
        self._refuse(unknown)
        from_file = self._read_file(parsed.config) if parsed.config else {}
        return self._settle(parsed, from_file)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"usage: {self.usage}\n{self.prog}: error: {message}\n")

    def _settle(self, parsed: argparse.Namespace, from_file: dict[str, Any]) -> argparse.Namespace:
        """Put the layers of values over each other and the vLLM flags into the options."""
        given = {name: getattr(parsed, name) for name in self._derived if hasattr(parsed, name)}
        positional = getattr(parsed, "model_tag", None)
        if positional is not None:
            if given.get("model") not in (None, positional):
                self._warn(f"the model is {positional}; --model {given['model']} is not used")
            given["model"] = positional
        layers = {**from_file, **given}
        values = {n: v for n, v in layers.items() if n in self.options}
        for name, value in layers.items():
            if name not in self.options:
                compat.apply(name, value, values)
        for o in self.options.values():
            setattr(parsed, o.name, values.get(o.name, o.default))
        for name in self._derived:
            if name not in self.options and hasattr(parsed, name):
                delattr(parsed, name)
        setattr(parsed, _GIVEN, frozenset(values))
        return parsed

    def _normalise(self, argv: Sequence[str]) -> list[str]:
        """Dashes for underscores, booleans with a value, -O forms, and dotted keys gathered into JSON."""
        out: list[str] = []
        objects: dict[str, Any] = {}  # flag -> what its dotted keys say
        words = list(argv)
        while words:
            word = words.pop(0)
            if word == "--":
                out += ["--", *words]
                break
            optimize = re.fullmatch(r"-O=?(\d|\{.*)", word, re.DOTALL)
            if optimize:
                out += ["--compilation-config", optimize[1]]
                continue
            if not word.startswith("-") or len(word) < 3:
                out.append(word)
                continue
            flag, equals, value = word.partition("=")
            head, dot, path = flag.partition(".")
            head = head.replace("_", "-")
            option = self._by_flag.get(head) or self._by_flag.get("--" + head.removeprefix("--no-"))
            if dot and option is not None and option.kind == "json":
                if not equals and not words:
                    self.error(f"argument {flag}: expected a value")
                _put(objects.setdefault(option.flag, {}), path, value if equals else words.pop(0))
            elif option is not None and option.kind == "bool":
                follows = words and words[0].lower() in ("true", "false")
                out.append(self._bool_flag(head, option, value if equals else words.pop(0) if follows else "true"))
            else:
                out.append(head + dot + path + equals + value)
        return _merge_objects(out, objects)

    def _bool_flag(self, head: str, option: Option, value: str) -> str:
        try:
            on = bool(parse_text(option, value)) != head.startswith("--no-")
        except ValueError as e:
            self.error(f"argument {head}: {e}")
        return option.flag if on else "--no-" + option.flag[2:]

    def _warn_of_repeats(self, argv: list[str]) -> None:
        seen: set[str] = set()
        for word in argv:
            option = self._by_flag.get(word.partition("=")[0])
            if option is None or option.kind == "strs":
                continue
            if option.name in seen:
                self._warn(f"{option.flag} is given more than once; the last one counts")
            seen.add(option.name)

    def _refuse(self, unknown: list[str]) -> None:
        if not unknown:
            return
        flag = unknown[0].partition("=")[0]
        known = [*self._by_flag, *(s for a in self._actions for s in a.option_strings)]
        near = difflib.get_close_matches(flag, sorted(set(known)), n=3, cutoff=0.7) if flag.startswith("-") else []
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")

    def _read_file(self, path: str) -> dict[str, Any]:
        """Options by name from a YAML file: keys are flag names, maps are JSON options, lists several values."""
        import yaml  # takes 20 ms that only --config should pay for

        if not path.endswith((".yaml", ".yml")):
            self.error(f"--config must be a .yaml or .yml file, not {path}")
        try:
            content = yaml.safe_load(Path(path).read_text()) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
            self.error(f"--config {path} cannot be read: {e}")
        if not isinstance(content, dict):
            self.error(f"--config {path} must hold a map of options")
        words = [w for key, value in content.items() for w in self._words(path, str(key), value)]
        parsed, _ = super().parse_known_args(self._normalise(words))
        return {name: getattr(parsed, name) for name in self._derived if hasattr(parsed, name)}

    def _words(self, path: str, key: str, value: Any) -> list[str]:
        """One entry of the file as words of a command line."""
        flag = "--" + key.replace("_", "-")
        option = self._by_flag.get(flag)
        if option is None:
            near = difflib.get_close_matches(flag, sorted(self._by_flag), n=1)
            self.error(f"--config {path}: unknown option {key!r}{f'; near: {near[0][2:]}' if near else ''}")
        if value is None:
            return []
        if option.kind == "json":
            return [f"{flag}={json.dumps(value)}"]
        if option.kind == "strs":
            return [f"{flag}={v}" for v in (value if isinstance(value, list) else [value])]
        return [f"{flag}={str(value).lower() if isinstance(value, bool) else value}"]

    def _warn(self, message: str) -> None:
        print(f"{self.prog}: warning: {message}", file=sys.stderr)


def _add(parser: argparse.ArgumentParser, o: Option) -> None:
    """Declare an option to argparse; help is ours, and the value is only set where it is given."""
    common: dict[str, Any] = {"dest": o.name, "default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
    if o.kind == "bool":
        parser.add_argument(o.flag, *o.flags, action="store_true", **common)
        parser.add_argument("--no-" + o.flag[2:], action="store_false", **common)
    elif o.kind == "strs":
        parser.add_argument(o.flag, *o.flags, action="extend", nargs="+", **common)
    else:
        choices = o.choices
        if choices and o.optional:
            choices += (None,)

        def read(text: str) -> Any:
            if choices and o.optional and text == "None":
                return None
            try:
                return parse_text(o, text)
            except ValueError as e:
                raise argparse.ArgumentTypeError(str(e)) from None

        parser.add_argument(o.flag, *o.flags, type=read, choices=choices, **common)


def _put(target: dict[str, Any], path: str, text: str) -> None:
    """Set a.b.c in nested maps; `key+` appends to a list, and its value may hold several with commas between them."""
    *parents, last = path.split(".")
    for key in parents:
        target = target.setdefault(key, {})
    if last.endswith("+"):
        target.setdefault(last[:-1], []).extend(_value(t) for t in text.split(","))
    else:
        target[last] = _value(text)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _merge_objects(argv: list[str], objects: dict[str, Any]) -> list[str]:
    """Add the maps from dotted keys, over what the same option says as a whole."""
    for flag, members in objects.items():
        for i, word in enumerate(argv):
            whole = None
            if word == flag and i + 1 < len(argv):
                whole, argv[i : i + 2] = argv[i + 1], []
            elif word.startswith(flag + "="):
                whole, argv[i : i + 1] = word.partition("=")[2], []
            if whole is not None:
                base = _value(whole)
                if not isinstance(base, dict):
                    raise StartError(f"{flag} is given as {whole} and by members; write all of it as one JSON object.")
                members = deep_merge(base, members)
                break
        argv = [f"{flag}={json.dumps(members)}", *argv]
    return argv


def engine_args(namespace: argparse.Namespace) -> EngineArgs:
    """The engine's options out of what an OptionParser returned."""
    return EngineArgs(**{o.name: getattr(namespace, o.name) for o in options_of(EngineArgs)})


def server_args(namespace: argparse.Namespace) -> ServerArgs:
    """The server's options out of what an OptionParser returned."""
    return ServerArgs(**{o.name: getattr(namespace, o.name) for o in options_of(ServerArgs)})


def make_arg_parser(parser: Any = None) -> OptionParser:
    """The parser of `penstock serve`. The argument is there because vLLM's function has one; it is not used."""
    return OptionParser(
        EngineArgs,
        ServerArgs,
        prog="penstock serve",
        description="Serve a model over the OpenAI-compatible API. Without MODEL: the bundled one.",
        model_argument=True,
    )


def parse_serve(argv: Sequence[str] | None = None) -> tuple[EngineArgs, ServerArgs]:
    """The options of `penstock serve` from a command line (without the command itself).

    Raises:
        StartError: a value is impossible, or this version does not have what it asks for.
    """
    namespace = make_arg_parser().parse_args(argv)
    return engine_args(namespace), server_args(namespace)
