"""Prompt embeddings on disk: one safetensors file a text, shared by runs and processes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile

from safetensors import SafetensorError
from safetensors.torch import load, save

from guardcore import GuardcoreError
from guardcore_plugins.backbones.embeddings import Embedding


class EmbeddingStore:
    """The embeddings that one set of text encoders makes.

    A file is written aside and renamed, so that several processes may fill the store at once and
    none reads half a file; whoever is last wins, with the same content. A damaged file counts as
    absent.

    Args:
        directory: The cache's; it may be shared by any number of models.
        identity: All that an embedding depends on, beside its text.
    """

    def __init__(self, directory: Path, identity: Mapping[str, object]) -> None:
        key = json.dumps(identity, sort_keys=True)
        self.directory = directory / _hash(key)[:16]

    def __contains__(self, text: str) -> bool:
        return self._path(text).is_file()

    def read(self, text: str) -> Embedding | None:
        """Return the embedding of ``text``, on the CPU; None where there is none."""
        try:
            # not load_file: its tensors lie in the mapped file, and die with one cut short later
            tensors = load(self._path(text).read_bytes())
        except (OSError, SafetensorError):
            return None
        return tuple(tensors[str(place)] for place in range(len(tensors)))

    def write(self, text: str, embedding: Embedding) -> None:
        """Keep the embedding of ``text``.

        Raises:
            GuardcoreError: The disk does not take it.
        """
        tensors = {str(place): t.cpu().contiguous() for place, t in enumerate(embedding)}
        path = self._path(text)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(path, save(tensors, metadata={"text": text}))
        except OSError as error:
            raise GuardcoreError(
                f"backbone.embedding_cache: cannot write {path}: {error.strerror or error}"
            ) from error

    def _path(self, text: str) -> Path:
        name = _hash(text)
        return self.directory / name[:2] / f"{name}.safetensors"


def default_directory() -> Path:
    """Return the cache's directory where none is configured."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "guardcore" / "embeddings"


def fingerprint(directory: Path, components: Iterable[str]) -> dict[str, list[int]]:
    """Return size and time of every file of a pipeline's components, without reading them."""
    files = sorted(
        path for name in components for path in (directory / name).rglob("*") if path.is_file()
    )
    return {
        str(path.relative_to(directory)): [path.stat().st_size, path.stat().st_mtime_ns]
        for path in files
    }


def _replace(path: Path, content: bytes) -> None:
    """Write a whole file or none."""
    with NamedTemporaryFile(dir=path.parent, prefix=".writing-", delete=False) as aside:
        written = Path(aside.name)
        try:
            aside.write(content)
            aside.close()
            written.replace(path)
        except BaseException:
            written.unlink(missing_ok=True)
            raise


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
