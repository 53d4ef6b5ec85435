"""Tools that Anthropic defines and the client runs: their schemas, which only its own models know by heart.

Source: the descriptions of the bash, text editor and memory tools in Anthropic's documentation of tool use.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_STRING = {"type": "string"}
_LINES = {"type": "array", "items": {"type": "integer"}, "description": "First and last line to show, from 1."}


def _tool(name: str, description: str, properties: Json, required: list[str]) -> Json:
    schema = {"type": "object", "properties": properties, "required": required}
    return {"name": name, "description": description, "input_schema": schema}


def _commands(*names: str) -> Json:
    return {"type": "string", "enum": list(names)}


_EDITING = {
    "path": _STRING,
    "file_text": {"type": "string", "description": "For create: the content of the file."},
    "old_str": {"type": "string", "description": "For str_replace: the text to replace, which occurs once."},
    "new_str": {"type": "string", "description": "For str_replace: the text to put there."},
    "insert_line": {"type": "integer", "description": "For insert: the line after which to insert; 0 for the start."},
    "view_range": _LINES,
}
_INSERTED = {"insert_text": {"type": "string", "description": "For insert: the text."}}

_BASH = _tool(
    "bash",
    "Run a command in a shell that keeps its state between calls.",
    {"command": _STRING, "restart": {"type": "boolean", "description": "Start the shell anew instead."}},
    [],
)
_EDITOR = _tool(
    "str_replace_based_edit_tool",
    "View, create and edit text files.",
    {"command": _commands("view", "create", "str_replace", "insert"), **_EDITING, **_INSERTED},
    ["command", "path"],
)
_OLD_EDITOR = _tool(
    "str_replace_editor",
    "View, create and edit text files.",
    {
        "command": _commands("view", "create", "str_replace", "insert", "undo_edit"),
        **_EDITING,
        "new_str": {"type": "string", "description": "For str_replace and insert: the text to put there."},
    },
    ["command", "path"],
)
_MEMORY = _tool(
    "memory",
    "Read and write notes in files below /memories, which last beyond this conversation.",
    {
        "command": _commands("view", "create", "str_replace", "insert", "delete", "rename"),
        **_EDITING,
        **_INSERTED,
        "old_path": {"type": "string", "description": "For rename."},
        "new_path": {"type": "string", "description": "For rename."},
    },
    ["command"],
)

# By the beginning of the type, which ends with a date; the first that fits.
_BY_TYPE = (
    ("bash_", _BASH),
    ("text_editor_20241022", _OLD_EDITOR),
    ("text_editor_20250124", _OLD_EDITOR),
    ("text_editor_", _EDITOR),
    ("memory_", _MEMORY),
)


def client_tool(kind: str) -> Json | None:
    """The definition of a tool of this type, as a client would write one of its own; None for an unknown type."""
    return next((tool for start, tool in _BY_TYPE if kind.startswith(start)), None)
