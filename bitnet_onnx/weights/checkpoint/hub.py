"""Checkpoints fetched from the Hugging Face Hub into its cache: only the files that are read.

Knows which files these are and how a download can fail. The package huggingface_hub and its
environment variables do the rest: cache, tokens, offline mode, proxies, resuming.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ...errors import CheckpointError
from ..gguf.parts import is_gguf, part_names
from .folder import CONFIG, INDEX, TEXT_FILES, weight_files
from .templates import TEMPLATES

__all__ = ["Fetched", "fetch", "is_hub_id"]

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


class Fetched(NamedTuple):
    """Where the files are, and the commit of the revision."""

    path: Path
    """The snapshot's folder, or the .gguf file in it."""
    commit: str


def is_hub_id(source: str) -> bool:
    """Return whether the text has the form ``org/name``."""
    return _ID.fullmatch(source) is not None


def fetch(repository: str, revision: str | None = None) -> Fetched:
    """Download what is not yet in the cache; raise CheckpointError where that fails.

    The small files come first, as they name the weights' files: the shards of the index, or
    model.safetensors, or the only .gguf of a repository without safetensors, in parts or not.
    """
    hub = _client(repository)
    with _one_sentence(hub, repository, revision):
        folder = Path(
            hub.snapshot_download(
                repository,
                revision=revision,
                allow_patterns=[CONFIG, INDEX, TEMPLATES, *TEXT_FILES],
            )
        )
        commit = folder.name
        if (folder / CONFIG).is_file():
            names = [path.name for path in weight_files(folder)]
            hub.snapshot_download(repository, revision=commit, allow_patterns=names)
            if any((folder / name).is_file() for name in names):
                return Fetched(folder, commit)
        names = _only_gguf(hub, repository, folder)
        hub.snapshot_download(repository, revision=commit, allow_patterns=names)
        return Fetched(folder / names[0], commit)


def _client(repository: str) -> Any:
    try:
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        raise CheckpointError(
            f"{repository} is not a folder, and fetching it from the Hugging Face Hub needs the "
            "package huggingface_hub",
            hint="install it with: pip install 'bitnet-onnx[hub]'",
        ) from None
    return huggingface_hub


def _only_gguf(hub: Any, repository: str, folder: Path) -> list[str]:
    """Return the path of the only .gguf file, or of all its parts."""
    try:
        names = hub.list_repo_files(repository, revision=folder.name)
    except hub.errors.OfflineModeIsEnabled:
        names = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    found = sorted(name for name in names if is_gguf(PurePosixPath(name)))
    if not found:
        raise CheckpointError(
            f"{repository} holds neither {CONFIG} with .safetensors files nor a .gguf file"
        )
    first = PurePosixPath(found[0])
    if not set(found) <= {str(first.with_name(name)) for name in part_names(first.name)}:
        raise CheckpointError(
            f"{repository} holds {len(found)} .gguf files, expected one: {', '.join(found)}",
            hint="download one of them and give its path",
        )
    return found


@contextmanager
def _one_sentence(hub: Any, repository: str, revision: str | None) -> Iterator[None]:
    """Turn each exception of the client, a text of several lines, into one sentence."""
    errors = hub.errors
    try:
        yield
    except CheckpointError:
        raise
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"{repository} is gated on the Hugging Face Hub: its owner grants access",
            hint="ask for access on the repository's page, then log in with: hf auth login",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{repository} is not a folder, and the Hugging Face Hub has no repository of that "
            "name for this user",
            hint="check the spelling; for a private repository log in with: hf auth login",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(
            f"{repository} has no revision {revision!r} on the Hugging Face Hub",
            hint="give a branch, a tag or a whole commit hash",
        ) from error
    except errors.LocalEntryNotFoundError as error:
        why = "offline mode is set (HF_HUB_OFFLINE)"
        if not hub.constants.HF_HUB_OFFLINE:
            why = (
                f"the Hugging Face Hub cannot be reached ({_first_line(error.__cause__ or error)})"
            )
        raise CheckpointError(
            f"{repository} is not a folder, {why}, and the cache does not hold all files of "
            f"that repository{f' at revision {revision!r}' if revision else ''}",
            hint="run the command once with a network, or give a checkpoint folder",
        ) from error
    except Exception as error:  # the HTTP library has exceptions of many classes
        raise CheckpointError(
            f"{repository} could not be fetched from the Hugging Face Hub: {_first_line(error)}",
            hint="run the command again: files that are already whole are kept",
        ) from error


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
