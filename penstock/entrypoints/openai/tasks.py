"""Which routes need a model that generates. Pooling routes say themselves which of their tasks a model lacks."""

from __future__ import annotations

from penstock.config.engine_config import EngineConfig
from penstock.errors import ClientError

GENERATING = {
    "/v1/completions": "the completions API",
    "/v1/chat/completions": "the chat completions API",
    "/v1/responses": "the responses API",
    "/v1/messages": "the messages API",
}


def check_task(path: str, config: EngineConfig) -> None:
    """Refuse a route that the model cannot serve.

    Args:
        path: the route's template.

    Raises:
        ClientError: the model pools, and the route generates.
    """
    if config.pooling is not None and path in GENERATING:
        raise ClientError(
            f"The model does not support {GENERATING[path]}: it pools ({', '.join(config.pooling.tasks)}).", "model"
        )
