"""Which files the page's server gives out, to whom, and what is left out of an answer."""

from __future__ import annotations

import http.client
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from bitnet_onnx.cli.main import main
from bitnet_onnx.errors import ArtifactError
from bitnet_onnx.serve import page as web
from bitnet_onnx.serve.server import Server

Answer = tuple[http.client.HTTPResponse, bytes]


@pytest.fixture
def artifact(demo_artifact: Path, tmp_path: Path) -> Path:
    """An artifact that says it is for browsers; nothing here runs it."""
    folder = shutil.copytree(demo_artifact, tmp_path / "artifact", copy_function=os.link)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").write_text(json.dumps({**manifest, "target": "stock"}))
    return folder


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the built page, beside a file that nobody may read."""
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html>")
    (folder / "assets" / "a-1.wasm").write_bytes(bytes(range(100)))
    monkeypatch.setattr(web, "PAGE", folder)
    return folder


@pytest.fixture
def server(artifact: Path, page: Path) -> Iterator[Server]:
    with web.make_server(artifact, "127.0.0.1", 0, ["demo.example"]) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def get(server: Server, path: str, method: str = "GET", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    given = {name.replace("_", "-"): text for name, text in headers.items()}
    connection.request(method, path, headers=given)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/%252e%252e%252fsecret.txt",
        "/..%5csecret.txt",
        "/assets/../../secret.txt",
        "/model/../secret.txt",
        "/model/%2e%2e%2fsecret.txt",
        "/./index.html",
        "/assets/",
        "/assets",
        "/index.html/",
        "/index.html%00.txt",
        "/index.html%20",
        "/%ff%fe",
        "/INDEX.HTML",
        "/model/manifest.json::$DATA",
        "/c:/index.html",
        "http://localhost/index.html",
        "*",
    ],
)
def test_a_path_leads_to_no_other_file(server: Server, path: str) -> None:
    response, body = get(server, path)
    assert (response.status, body) == (404, b"")


def test_links_out_of_the_page_are_not_served(artifact: Path, page: Path) -> None:
    (page / "assets" / "link.txt").symlink_to(page.parent / "secret.txt")
    (page / "folder.d").symlink_to(page.parent, target_is_directory=True)
    (page / "assets" / "inner.wasm").symlink_to("a-1.wasm")
    with web.make_server(artifact, "127.0.0.1", 0) as server:
        files = server.RequestHandlerClass.args[0]  # type: ignore[attr-defined]  # a partial
    assert {name for name in files if not name.startswith("/model/")} == {
        "/", "/index.html", "/assets/a-1.wasm", "/assets/inner.wasm",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["tokenizer.json", "model.onnx_data", "manifest.json"])
def test_a_link_out_of_the_artifact_is_refused(artifact: Path, page: Path, name: str) -> None:
    (artifact / name).rename(artifact.parent / "elsewhere")
    (artifact / name).symlink_to(artifact.parent / "elsewhere")
    with pytest.raises(ArtifactError, match="is a link out of its folder") as caught:
        web.make_server(artifact, "127.0.0.1", 0)
    assert "cp -rL" in str(caught.value.hint)


def test_a_folder_that_is_itself_a_link_is_served(artifact: Path, page: Path) -> None:
    link = artifact.with_name("link")
    link.symlink_to(artifact, target_is_directory=True)
    web.make_server(link, "127.0.0.1", 0).server_close()


def test_a_client_gets_only_what_it_lacks(server: Server, page: Path) -> None:
    response, body = get(server, "/assets/a-1.wasm")
    tag = response.headers["ETag"]
    assert len(body) == 100
    for names in (tag, f"W/{tag}", "*", f'"other", {tag}'):
        response, body = get(server, "/assets/a-1.wasm", If_None_Match=names)
        assert (response.status, body, response.headers["ETag"]) == (304, b"", tag)
    assert get(server, "/assets/a-1.wasm", If_None_Match='"other"')[0].status == 200
    for known, status in ((tag, 206), ('"other"', 200), ("Sun, 29 Nov 2026 07:00:00 GMT", 200)):
        part = get(server, "/assets/a-1.wasm", Range="bytes=5-6", If_Range=known)
        assert part[0].status == status
    (page / "assets" / "a-1.wasm").write_bytes(bytes(50))
    assert get(server, "/assets/a-1.wasm", If_None_Match=tag)[0].status == 200


@pytest.mark.parametrize("path", ["/", "/model/tokenizer.json", "/nothing"])
def test_head_has_the_fields_of_get_and_no_body(server: Server, path: str) -> None:
    whole, body = get(server, path)
    head, none = get(server, path, method="HEAD")
    assert head.status == whole.status
    assert none == b""
    assert head.headers["Content-Length"] == str(len(body))
    assert head.headers.get("ETag") == whole.headers.get("ETag")


def test_hosts(server: Server) -> None:
    assert get(server, "/model/manifest.json", Host="demo.example")[0].status == 200
    response, body = get(server, "/model/manifest.json", Host="evil.example")
    assert response.status == 403
    assert b"--allow-host NAME" in body


def test_the_command_passes_names_on(
    artifact: Path, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["--allow-host", "demo.example", "--allow-host", "http://evil"]
    assert main(["web", str(artifact), "--port", "0", *names]) == 2
    assert "--allow-host is 'http://evil'" in capsys.readouterr().err


def test_a_file_that_became_shorter_ends_the_connection(server: Server, page: Path) -> None:
    """The rest that was promised never comes, and the next answer must not stand for it."""
    large = page / "index.html"
    large.write_bytes(bytes(16 << 20))  # more than the system buffers
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request("GET", "/")
    response = connection.getresponse()
    os.truncate(large, 1)
    with pytest.raises(http.client.IncompleteRead):
        response.read()
    connection.close()
