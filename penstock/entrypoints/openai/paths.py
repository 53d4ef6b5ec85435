"""Which paths are special: open without a key, served in every state. Decided on the path that the router sees."""

from __future__ import annotations

from starlette.types import Scope

# Served without an API key; everything else is guarded.
PUBLIC = frozenset({"/health", "/ping", "/ready", "/version", "/metrics"})
# Served while the model loads or the server stops; they tell about it.
ALWAYS_OPEN = frozenset({"/health", "/ping", "/ready", "/version"})
# Not counted among the HTTP metrics: their callers are monitors.
UNCOUNTED = frozenset({"/metrics", "/health", "/load", "/ping", "/version", "/server_info", "/ready"})

MESSAGES = "/v1/messages"


def route_path(scope: Scope) -> str:
    """The path below `root_path`, as the router sees it; never built from the Host header."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and (path == root or path.startswith(root + "/")):
        return path[len(root) :]
    return path


def speaks_anthropic(scope: Scope) -> bool:
    """Whether the path belongs to Anthropic's API, whose errors have another form."""
    path = route_path(scope)
    return path == MESSAGES or path.startswith(MESSAGES + "/")
