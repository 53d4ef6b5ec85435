"""Which routes a model serves, by what it was made for."""

from __future__ import annotations

from penstock.config.engine_config import EngineConfig
from penstock.errors import ClientError

GENERATING = {
    "/v1/completions": "the completions API",
    "/v1/chat/completions": "the chat completions API",
    "/v1/responses": "the responses API",
    "/v1/messages": "the messages API",
}
POOLING = {"/v1/embeddings": "embed", "/classify": "classify"}  # the task that a route needs


def serves(path: str, config: EngineConfig) -> bool:
    """Whether the model can do what a route is for; for routes of several tasks, and of none, that is left to them."""
    if config.pooling is None:
        return path not in POOLING
    return path not in GENERATING and POOLING.get(path, config.pooling.tasks[0]) in config.pooling.tasks


def check_task(path: str, config: EngineConfig) -> None:
    """Refuse a route that generates for a model that does not. Pooling routes say themselves what a model lacks.

    Args:
        path: the route's template.

    Raises:
        ClientError: the model pools, and the route generates.
    """
    if config.pooling is not None and path in GENERATING:
        raise ClientError(
            f"The model does not support {GENERATING[path]}: it pools ({', '.join(config.pooling.tasks)}).", "model"
        )
