"""`system_fingerprint`: a name for everything that decides what an answer says, and for nothing else.

The model's numbers and files, its precision and defaults, and this version are in it; names, ports, limits and the load
are not, so two servers with the same fingerprint answer a seeded request alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from penstock import __version__, envs
from penstock.config.engine_config import EngineConfig

# What a folder's files say is sampled: reading whole weights would take longer than the start.
_SAMPLES = 5
_SAMPLE_BYTES = 4096
_COUNTED = (".safetensors", ".bin", ".json", ".jinja", ".model")


def fingerprint(config: EngineConfig, chat_templates: Mapping[str, str]) -> str:
    """`penstock-VERSION-HASH`.

    Args:
        chat_templates: the sources that are used, by name.
    """
    model, cache = config.model, config.cache
    parts = (
        model.shape,
        model.dtype,
        model.load_format,
        model.max_model_len,
        model.generation_defaults,
        model.eos_token_ids,
        model.seed,
        cache.dtype,
        config.device.platform,
        envs.CPU_ISA,
        dict(chat_templates),
    )
    digest = hashlib.sha256(msgspec.json.encode(parts))
    for folder in sorted({model.path, model.tokenizer_path or model.path}):
        _add_files(digest, Path(folder))
    return f"penstock-{__version__}-{digest.hexdigest()[:8]}"


def _add_files(digest: hashlib._Hash, folder: Path) -> None:
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.suffix not in _COUNTED or not file.is_file():
            continue
        size = file.stat().st_size
        digest.update(f"{file.name}/{size}/".encode())
        with file.open("rb") as f:
            for i in range(_SAMPLES):
                f.seek(max(size - _SAMPLE_BYTES, 0) * i // (_SAMPLES - 1))
                digest.update(f.read(_SAMPLE_BYTES))
