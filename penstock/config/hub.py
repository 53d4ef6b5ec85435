"""Where a model's files are: the bundled model, a local folder, or a download from the Hugging Face hub.

Knows files, not what is in them. `huggingface_hub` is imported only for a download.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from penstock.errors import StartError

BUNDLED_NAME = "penstock-tiny"
BUNDLED_PATH = Path(__file__).parent.parent / "assets" / "tiny"

_TEXT_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "tokenizer*")
_SAFETENSORS = ("*.safetensors",)
_TORCH_FILES = ("*.bin", "*.pt", "*.pth")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")

logger = logging.getLogger("penstock.config.hub")


def local_model_dir(
    model: str | None,
    *,
    revision: str | None = None,
    download_dir: str | None = None,
    token: str | None = None,
    ignore_patterns: tuple[str, ...] = (),
    load_format: str = "auto",
    weights: bool = True,
) -> str:
    """A local folder that holds the model.

    Args:
        model: None for the bundled model, a folder, or a hub id.
        weights: also download weights; otherwise configuration and tokenizer only.

    Raises:
        StartError: there is no such folder or model, or the hub cannot be reached. The message is one sentence.
    """
    if model is None or model == BUNDLED_NAME:
        return str(BUNDLED_PATH)
    path = Path(model).expanduser()
    if path.is_dir():
        return str(path)
    if path.exists():
        raise StartError(f"The model must be a folder or a hub id, but {model!r} is a file.")
    if not _HUB_ID.fullmatch(model) or model.startswith("."):
        raise StartError(f"There is no folder {model!r}.")
    return _download(model, revision, download_dir, token, ignore_patterns, load_format if weights else None)


def _download(
    repo: str,
    revision: str | None,
    download_dir: str | None,
    token: str | None,
    ignore: tuple[str, ...],
    load_format: str | None,
) -> str:
    """The snapshot's folder; `load_format` None leaves the weights out."""
    import huggingface_hub as hub
    from huggingface_hub import errors

    common: dict[str, Any] = {"revision": revision, "token": token}
    try:
        weights = _weight_patterns(hub, repo, load_format, common)
        return hub.snapshot_download(
            repo,
            cache_dir=download_dir,
            allow_patterns=[*_TEXT_FILES, *weights],
            ignore_patterns=list(ignore),
            **common,
        )
    except errors.GatedRepoError as e:
        raise StartError(
            f"{repo} asks for its terms to be accepted at its hub page, and for --hf-token or HF_TOKEN."
        ) from e
    except errors.RevisionNotFoundError as e:
        raise StartError(f"{repo} has no revision {revision!r} on the hub.") from e
    except errors.RepositoryNotFoundError as e:
        raise StartError(
            f"There is no folder {repo!r}, and no model of that name on the hub (or it is private)."
        ) from e
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, OSError) as e:
        raise StartError(
            f"There is no folder {repo!r}, it is not among the downloads here, and the Hugging Face hub "
            "cannot be reached; a local folder with the model's files works without network."
        ) from e


def _weight_patterns(hub: Any, repo: str, load_format: str | None, common: dict[str, Any]) -> tuple[str, ...]:
    """Which weight files to download: safetensors where the repository has them, else PyTorch's."""
    from huggingface_hub import constants, errors

    by_format = {None: (), "dummy": (), "safetensors": _SAFETENSORS, "pt": _TORCH_FILES}
    if load_format in by_format:
        return by_format[load_format]
    if constants.HF_HUB_OFFLINE:
        return _SAFETENSORS + _TORCH_FILES
    try:
        names = hub.HfApi().list_repo_files(repo, **common)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        raise
    except (errors.HfHubHTTPError, OSError):  # no network: what is downloaded already may do
        return _SAFETENSORS + _TORCH_FILES
    return _SAFETENSORS if any(n.endswith(".safetensors") for n in names) else _TORCH_FILES
