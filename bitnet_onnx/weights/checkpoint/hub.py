"""Checkpoints fetched from the Hugging Face Hub into its cache: only the files that are read.

Knows which files these are and how a download can fail. The package huggingface_hub and its
environment variables do the rest: cache, tokens, offline mode, proxies, resuming.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from ...errors import CheckpointError
from ...files import CHUNK, sha256
from ..gguf.parts import is_gguf, part_names
from .files import BIN, BIN_INDEX, CONFIG, INDEX, OTHERS, TEXT_FILES, weights_of
from .sentence import FILES as SENTENCE_FILES
from .templates import TEMPLATES

__all__ = ["Fetched", "fetch", "is_hub_id"]

SMALL = [CONFIG, INDEX, TEMPLATES, *OTHERS, *TEXT_FILES, *SENTENCE_FILES]
SHA256_DIGITS = 64
HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
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
    model.safetensors, or pytorch_model.bin, or the only .gguf of a repository without these, in
    parts or not. Each file is compared with the hash that the Hub gave for it.
    """
    hub = _client(repository)
    with _one_sentence(hub, repository, revision):
        folder = Path(hub.snapshot_download(repository, revision=revision, allow_patterns=SMALL))
        commit = folder.name
        get = partial(_get, hub, repository, folder)
        if (folder / CONFIG).is_file() and (names := _get_weights(folder, get)):
            _check([*SMALL, *names], folder)
            return Fetched(folder, commit)
        names = _only_gguf(hub, repository, folder)
        get(names)
        _check([*SMALL, *names], folder)
        return Fetched(folder / names[0], commit)


def _get(hub: Any, repository: str, folder: Path, names: list[str]) -> None:
    hub.snapshot_download(repository, revision=folder.name, allow_patterns=names)


def _get_weights(folder: Path, get: Callable[[list[str]], None]) -> list[str]:
    """Download safetensors, or else pickled weights; return their names, none without any."""
    for names in ([], [BIN_INDEX], [BIN]):
        get([*names, *(path.name for path in weights_of(folder).files)])
        files = weights_of(folder).files
        if names == [BIN_INDEX] and (folder / BIN_INDEX).is_file():
            get([path.name for path in files])
        if any(path.is_file() for path in files):
            return [path.name for path in files]
    return []


def _check(names: Iterable[str], folder: Path) -> None:
    """Refuse a file whose bytes differ from those that the Hub announced.

    The cache names each file by the hash that came with it: the SHA-256 of a large file, git's hash
    of a small one. Where the file system has no links, the cache keeps no hash.
    """
    for path in (*folder.glob(TEMPLATES), *(folder / name for name in names)):
        blob = path.resolve()
        expected = blob.name
        if not blob.is_file() or not HASH.fullmatch(expected):
            continue
        kind = "SHA-256" if len(expected) == SHA256_DIGITS else "git hash"
        found = sha256(blob) if kind == "SHA-256" else _git_hash(blob)
        if found != expected:
            raise CheckpointError(
                f"{path} is damaged: its {blob.stat().st_size} bytes have the {kind} "
                f"{found[:12]}..., expected {expected[:12]}... as on the Hugging Face Hub",
                hint=f"delete {blob} and run the command again",
            )


def _git_hash(path: Path) -> str:
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


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
