"""Checkpoints from a Hugging Face Hub that this machine serves; the tests use no other host."""

from __future__ import annotations

import json
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bitnet_onnx.cli.main import main
from bitnet_onnx.errors import BitNetError, CheckpointError
from bitnet_onnx.weights.checkpoint.hub import fetch, is_hub_id
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import checkpoints
from tests.support.hub_server import Hub, Repository, commit_of

pytest.importorskip("huggingface_hub")

SMALL: dict[str, Any] = {"hidden": 32, "heads": 2, "kv_heads": 1, "inner": 48, "layers": 1}
Q = "model.layers.0.self_attn.q_proj"
NAME = "tiny/bitnet"
UNREAD = ("README.md", "pytorch_model.bin", "original/model.safetensors", "extra.safetensors")
CLIENT = "huggingface_hub"


def forget_client() -> dict[str, Any]:
    """Remove the imported client, which reads its environment only at import; return it."""
    names = [name for name in sys.modules if name.partition(".")[0] == CLIENT]
    return {name: sys.modules.pop(name) for name in names}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve an empty Hub, with an empty cache and a client that knows only these."""
    served = Hub()
    server = served.serve()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_TOKEN", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    real = socket.getaddrinfo

    def only_here(host: Any, *args: Any, **kwargs: Any) -> Any:
        assert host in ("127.0.0.1", "localhost"), f"a test asks for {host}"
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", only_here)
    imported = forget_client()
    yield served
    forget_client()
    sys.modules.update(imported)
    server.shutdown()
    thread.join()
    server.server_close()


def publish(hub: Hub, folder: Path, name: str = NAME, **sizes: Any) -> Path:
    """Publish a repository with a checkpoint and with files that are not needed."""
    checkpoints.make(folder, **SMALL, **sizes)
    (folder / "tokenizer.json").write_text("{}")
    for other in UNREAD:
        (folder / other).parent.mkdir(exist_ok=True)
        (folder / other).write_text(other)
    hub.repositories[name] = Repository({"main": folder})
    return folder


def refused(source: str = NAME, revision: str | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(source, revision=revision)
    message = str(caught.value)
    assert source in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("shards", [1, 3])
def test_only_the_needed_files_are_downloaded(hub: Hub, tmp_path: Path, shards: int) -> None:
    folder = publish(hub, tmp_path / "served", shards=shards)
    opened = open_checkpoint(NAME)
    wanted = {path.name for path in folder.iterdir() if path.is_file()} - set(UNREAD)
    assert hub.downloads == sorted(wanted)
    assert len(wanted) == (3 if shards == 1 else 6)
    local = open_checkpoint(folder)
    assert torch.equal(opened.ternary(Q)[0], local.ternary(Q)[0])
    assert opened.text_files() == {"tokenizer.json": b"{}"}
    assert opened.hub == (NAME, commit_of("main"))
    assert local.hub is None


@pytest.mark.parametrize("name", ["hadamard.json", "adapter_config.json"])
def test_a_file_that_changes_the_network_is_downloaded(hub: Hub, tmp_path: Path, name: str) -> None:
    (publish(hub, tmp_path / "served") / name).write_text("{}")
    with pytest.raises(BitNetError, match=f"{name} declares a"):
        open_checkpoint(NAME)


def test_a_second_opening_downloads_nothing(hub: Hub, tmp_path: Path) -> None:
    publish(hub, tmp_path / "served")
    open_checkpoint(NAME)
    hub.requests.clear()
    open_checkpoint(NAME)
    assert hub.downloads == []


def test_a_revision_is_a_branch_or_a_commit(hub: Hub, tmp_path: Path) -> None:
    publish(hub, tmp_path / "served", seed=0)
    other = checkpoints.make(tmp_path / "other", seed=1, **SMALL)
    hub.repositories[NAME].revisions["refs/pr/1"] = other
    codes = [
        open_checkpoint(NAME, revision=revision).ternary(Q)[0]
        for revision in (None, "main", "refs/pr/1", commit_of("refs/pr/1"))
    ]
    assert torch.equal(codes[0], codes[1])
    assert not torch.equal(codes[1], codes[2])
    assert torch.equal(codes[2], codes[3])
    assert torch.equal(codes[3], open_checkpoint(other).ternary(Q)[0])


def test_an_interrupted_download_is_resumed(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 256)  # an unfinished chunk is discarded
    folder = publish(hub, tmp_path / "served")
    hub.cut["model.safetensors"] = 5000
    fetched = fetch(NAME)
    (file, asked), *more = hub.ranges
    assert (file, more) == ("model.safetensors", [])
    assert 4096 <= int(asked.removeprefix("bytes=").removesuffix("-")) <= 5000
    for name in ("model.safetensors", "config.json"):
        assert (fetched.path / name).read_bytes() == (folder / name).read_bytes()


def test_complete_files_are_kept_after_a_failed_download(hub: Hub, tmp_path: Path) -> None:
    publish(hub, tmp_path / "served", shards=2)
    last = "model-00002-of-00002.safetensors"
    hub.broken.add(last)
    assert "could not be fetched from the Hugging Face Hub: Server error '500" in refused()
    hub.broken.clear()
    hub.requests.clear()
    open_checkpoint(NAME)
    assert hub.downloads == [last]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_that_differs_from_the_hubs_hash_is_refused(
    hub: Hub, tmp_path: Path, name: str
) -> None:
    folder = publish(hub, tmp_path / "served")
    hub.altered[name] = (folder / name).stat().st_size - 1
    if name == "config.json":
        (folder / name).write_text((folder / name).read_text() + " ")  # a space that is altered
    with pytest.raises(BitNetError, match=rf"{name}( is damaged: its \d+ bytes have the|: )"):
        open_checkpoint(NAME)


def test_a_file_that_changes_in_the_cache_is_refused(hub: Hub, tmp_path: Path) -> None:
    publish(hub, tmp_path / "served")
    path = fetch(NAME).path / "model.safetensors"
    content = path.read_bytes()
    for damaged in (content[:-100], content[:-100] + bytes(100), content + b"x"):
        path.resolve().write_bytes(damaged)
        with pytest.raises(
            CheckpointError, match=f"is damaged: its {len(damaged)} bytes"
        ) as caught:
            open_checkpoint(NAME)
        assert str(path.resolve()) in (caught.value.hint or "")
    path.resolve().write_bytes(content)
    open_checkpoint(NAME)


@pytest.mark.parametrize("shards", [1, 2])
def test_pickled_weights_are_fetched_where_there_are_no_safetensors(
    hub: Hub, tmp_path: Path, shards: int
) -> None:
    folder = publish(hub, tmp_path / "served", shards=shards)
    expected = open_checkpoint(folder).ternary(Q)[0]
    (folder / "pytorch_model.bin").unlink()
    checkpoints.pickle_weights(folder)
    opened = open_checkpoint(NAME)
    assert torch.equal(opened.ternary(Q)[0], expected)
    names = {path.name for path in folder.iterdir() if path.is_file()} - set(UNREAD[:1])
    assert set(hub.downloads) == names - set(UNREAD) | set(hub.downloads) & {"pytorch_model.bin"}


def test_offline_mode_uses_the_cache(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, tmp_path / "served", shards=2)
    online = open_checkpoint(NAME)
    hub.requests.clear()
    forget_client()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline = open_checkpoint(NAME)
    assert torch.equal(offline.ternary(Q)[0], online.ternary(Q)[0])
    assert offline.hub == online.hub
    message = refused("tiny/other")
    assert "offline mode is set (HF_HUB_OFFLINE)" in message
    assert "'v2'" in refused(revision="v2")
    assert hub.requests == []


def test_the_cache_is_used_without_a_network(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, tmp_path / "served")
    online = open_checkpoint(NAME)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        forget_client()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        assert open_checkpoint(NAME).hub == online.hub
        assert "the Hugging Face Hub cannot be reached (" in refused("tiny/other")


def test_a_refusal_of_the_hub_is_one_sentence(hub: Hub, tmp_path: Path) -> None:
    publish(hub, tmp_path / "served")
    assert "no repository of that name" in refused("tiny/other")
    assert "has no revision 'v9' on" in refused(revision="v9")
    assert "has no revision" in refused(revision="f" * 40)
    hub.repositories[NAME].gated = True
    assert "is gated" in refused()


def test_a_repository_without_a_checkpoint_is_refused(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "model.bin").write_text("?")
    hub.repositories[NAME] = Repository({"main": tmp_path / "served"})
    assert "holds neither config.json with .safetensors files nor a .gguf" in refused()
    checkpoints.make(tmp_path / "served", **SMALL)
    (tmp_path / "served" / "model.safetensors").unlink()
    hub.repositories[NAME] = Repository({"later": tmp_path / "served"})
    with pytest.raises(CheckpointError, match=r"nor a \.gguf file"):
        fetch(NAME, "later")


def test_a_repository_with_one_gguf_file_is_a_checkpoint(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    for name in ("a.gguf", "README.md", "tokenizer.json"):
        (served / name).write_text(name)
    hub.repositories[NAME] = Repository({"main": served})
    assert fetch(NAME).path.read_text() == "a.gguf"
    assert hub.downloads == ["a.gguf", "tokenizer.json"]
    forget_client()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch(NAME).path.read_text() == "a.gguf"
    forget_client()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    shutil.copy(served / "a.gguf", served / "b.gguf")
    hub.repositories[NAME] = Repository({"two": served})
    with pytest.raises(CheckpointError, match=r"2 \.gguf files, expected one: a\.gguf, b\.gguf"):
        fetch(NAME, "two")


def test_all_parts_of_a_gguf_model_are_fetched(hub: Hub, tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    parts = [f"m-0000{number}-of-00002.GGUF" for number in (1, 2)]
    for name in parts:
        (served / name).write_text(name)
    hub.repositories[NAME] = Repository({"main": served})
    assert fetch(NAME).path.name == parts[0]
    assert hub.downloads == parts
    (served / "n-00001-of-00002.gguf").write_text("")
    hub.repositories[NAME] = Repository({"two": served})
    with pytest.raises(CheckpointError, match=r"holds 3 \.gguf files, expected one"):
        fetch(NAME, "two")


def test_an_index_that_leads_elsewhere_is_not_followed(hub: Hub, tmp_path: Path) -> None:
    folder = publish(hub, tmp_path / "served")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "../README.md"}}')
    with pytest.raises(CheckpointError, match="expected a plain name"):
        open_checkpoint(NAME)
    assert "README.md" not in hub.downloads


def test_an_existing_path_is_preferred_to_a_hub_id(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoints.make(Path(NAME), **SMALL)
    assert open_checkpoint(NAME).hub is None
    assert hub.requests == []
    assert "revision is 'main', but tiny/bitnet is on this disk" in refused(revision="main")


@pytest.mark.parametrize("source", ["nowhere", "a/b/c", "./a/b", "../a", "/a/b", "a/", "a b/c"])
def test_a_wrong_id_is_refused_without_a_request(hub: Hub, source: str) -> None:
    assert not is_hub_id(source)
    assert "expected a folder, a .gguf file or a Hub id org/name" in refused(source)
    with pytest.raises(CheckpointError, match="Hub id org/name"):
        open_checkpoint(Path("tiny/other"))
    assert hub.requests == []


def test_the_missing_package_is_named(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Blocker:
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            if name == CLIENT:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Blocker(), *sys.meta_path])
    assert main(["export", NAME, "-o", "unused"]) == 2
    said = capsys.readouterr().err
    assert "needs the package huggingface_hub" in said
    assert "bitnet-onnx[hub]" in said


def test_commands_accept_a_hub_id(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(hub, tmp_path / "served")
    hub.repositories[NAME].revisions["v1"] = hub.repositories[NAME].revisions.pop("main")
    artifact = str(tmp_path / "artifact")
    assert main(["export", NAME, "--revision", "v1", "-o", artifact]) == 0
    source = json.loads((tmp_path / "artifact" / "manifest.json").read_text())["source"]
    assert (source["name"], source["commit"]) == (NAME, commit_of("v1"))
    assert sorted(source["files"]) == ["config.json", "model.safetensors"]
    options = ["--prompt-ids", "1,2,3", "--max-new-tokens", "4"]
    assert main(["verify", NAME, artifact, "--revision", "v1", *options]) == 0
    assert "agree" in capsys.readouterr().out
