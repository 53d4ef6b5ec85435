"""Usage as streams send it: members that are null are left out."""

from __future__ import annotations

import msgspec

from penstock.entrypoints.openai.answers import Usage

_encode = msgspec.json.Encoder().encode


def usage_json(usage: Usage) -> bytes:
    members = msgspec.structs.asdict(usage)
    return _encode({name: value for name, value in members.items() if value is not None})
