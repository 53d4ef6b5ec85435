"""Where a model's files are: the bundled model, a local folder, or a download from the Hugging Face hub.

Knows files, not what is in them. `huggingface_hub` is imported only for a download.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

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
        model: None (or "") for the bundled model, a folder, or a hub id.
        weights: also download weights; otherwise configuration and tokenizer only.

    Raises:
        StartError: there is no such folder or model, or the hub cannot be reached. The message is one sentence.
    """
    if not model or model == BUNDLED_NAME:
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

    files = _files_of(repo, revision, token)
    try:
        return hub.snapshot_download(
            repo,
            revision=revision,
            token=token,
            cache_dir=download_dir,
            allow_patterns=[*_TEXT_FILES, *_weight_patterns(files, load_format)],
            ignore_patterns=list(ignore),
            local_files_only=files is None,
        )
    except errors.GatedRepoError as e:
        raise StartError(_gated(repo)) from e
    except errors.LocalEntryNotFoundError as e:
        raise StartError(
            f"There is no folder {repo!r}, it is not among the downloads here, and the Hugging Face hub "
            "cannot be reached; a local folder with the model's files works without network."
        ) from e
    except Exception as e:  # boundary: what a broken transfer raises depends on the hub client's version
        raise StartError(
            f"The download of {repo} failed ({type(e).__name__}: {e}); the next start continues it."
        ) from e


def _files_of(repo: str, revision: str | None, token: str | None) -> list[str] | None:
    """Names of the repository's files; None if the hub cannot be reached, so that only earlier downloads are left."""
    import huggingface_hub as hub
    from huggingface_hub import errors

    try:
        # One request: listing the tree would try again and again where there is no network.
        info = hub.HfApi().model_info(repo, revision=revision, token=token, timeout=10)
    except errors.GatedRepoError as e:
        raise StartError(_gated(repo)) from e
    except errors.RevisionNotFoundError as e:
        raise StartError(f"{repo} has no revision {revision!r} on the hub.") from e
    except errors.RepositoryNotFoundError as e:
        raise StartError(
            f"There is no folder {repo!r}, and no model of that name on the hub (or it is private)."
        ) from e
    except Exception as e:  # boundary: as above, and being offline is not an error yet
        logger.info("The Hugging Face hub cannot be reached (%s); looking for an earlier download.", type(e).__name__)
        return None
    return [s.rfilename for s in info.siblings or ()]


def _gated(repo: str) -> str:
    return f"{repo} asks for its terms to be accepted at its hub page, and for --hf-token or HF_TOKEN."


def _weight_patterns(files: list[str] | None, load_format: str | None) -> tuple[str, ...]:
    """Which weight files to download: safetensors where the repository has them, else PyTorch's."""
    by_format: dict[str | None, tuple[str, ...]] = {
        None: (),
        "dummy": (),
        "safetensors": _SAFETENSORS,
        "pt": _TORCH_FILES,
    }
    if load_format in by_format:
        return by_format[load_format]
    if files is None:
        return _SAFETENSORS + _TORCH_FILES
    return _SAFETENSORS if any(f.endswith(".safetensors") for f in files) else _TORCH_FILES
