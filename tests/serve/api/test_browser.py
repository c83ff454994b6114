"""The page that runs an artifact in the browser, from the server of requests."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("httpx")
pytest.importorskip("uvicorn")
import httpx

from bitnet_onnx.artifact import Artifact
from bitnet_onnx.serve import page
from bitnet_onnx.serve.models import Limits

if TYPE_CHECKING:
    from tests.support.serve.serving import Served

BYTES = bytes(range(100))


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the built page, beside a file that nobody may read."""
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html>")
    (folder / "assets" / "a-1.wasm").write_bytes(BYTES)
    monkeypatch.setattr(page, "PAGE", folder)
    return folder


def says_stock(server: Served, monkeypatch: pytest.MonkeyPatch, name: str = "demo") -> Artifact:
    """Let a model's artifact say that it is for browsers; nothing here runs it."""
    served = server.state.models[name]
    monkeypatch.setattr(served, "artifact", replace(served.artifact, target="stock"))
    return served.artifact


def test_the_files_of_page_and_artifact(
    server: Served, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = says_stock(server, monkeypatch)
    whole = server.get("/browser/demo/")
    assert (whole.status_code, whole.text) == (200, "<!doctype html>")
    assert whole.headers["content-type"] == "text/html; charset=utf-8"
    assert page.ISOLATED.items() <= {n.title(): v for n, v in whole.headers.items()}.items()
    wasm = server.get("/browser/demo/assets/a-1.wasm", range="bytes=10-19")
    assert (wasm.status_code, wasm.content) == (206, BYTES[10:20])
    assert wasm.headers["content-type"] == "application/wasm"
    manifest = server.get("/browser/demo/model/manifest.json")
    assert manifest.json() == json.loads((artifact.folder / "manifest.json").read_text("utf-8"))
    tokenizer = server.get("/browser/demo/model/tokenizer.json")
    assert tokenizer.content == (artifact.folder / "tokenizer.json").read_bytes()
    assert httpx.head(f"{server.url}/browser/demo/").content == b""
    while not any(line.startswith("HEAD /browser/{name}/{path:path} 200 ") for line in server.log):
        threading.Event().wait(0.01)  # the line comes after the answer


@pytest.mark.parametrize(
    "path",
    [
        "demo/nothing", "demo/assets", "demo/../secret.txt", "demo/..%2fsecret.txt",
        "demo/%2e%2e/secret.txt", "demo/model/..%2f..%2fsecret.txt", "demo/index.html%00", "demo",
        "none/", "calling/", "calling/model/manifest.json", "/",
    ],
)  # fmt: skip
def test_no_other_file_is_given(
    server: Served, built: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    says_stock(server, monkeypatch)
    assert server.get("/browser/demo/").status_code == 200
    found = server.get(f"/browser/{path}")
    assert found.status_code == 404
    assert set(found.json()) == {"error"}


def test_an_artifact_of_links_out_of_its_folder_is_not_given(
    server: Served, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says_stock(server, monkeypatch, "calling")
    for path in ("", "model/manifest.json", "model/model.onnx"):
        assert server.get(f"/browser/calling/{path}").status_code == 404


def test_without_a_built_page_there_is_none(
    server: Served, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says_stock(server, monkeypatch)
    (built / "index.html").unlink()
    assert server.get("/browser/demo/").status_code == 404


def test_the_weights_need_the_key(
    demo_artifact: Path, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.serve.serving import served

    with served({"demo": demo_artifact}, Limits(threads=1), "sesame") as keyed:
        says_stock(keyed, monkeypatch)
        for path in ("", "model/model.onnx"):
            assert keyed.get(f"/browser/demo/{path}").status_code == 401
        found = keyed.get("/browser/demo/model/manifest.json", authorization="Bearer sesame")
        assert found.status_code == 200
