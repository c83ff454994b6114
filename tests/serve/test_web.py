"""`bitnet-onnx web`, and the page itself: the tests of mobile_demo/web run from here."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread

import pytest

from bitnet_onnx.cli.main import main
from bitnet_onnx.serve import page as web
from tests.support import web_fixtures
from tests.support.paths import ROOT

SOURCES = ROOT / "mobile_demo" / "web"


@pytest.fixture(scope="session")
def fixtures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web")
    web_fixtures.write(folder)
    return folder


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the built page."""
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html>")
    (folder / "assets" / "a-1.wasm").write_bytes(bytes(range(100)))
    monkeypatch.setattr(web, "PAGE", folder)
    return folder


@contextmanager
def served(artifact: Path) -> Iterator[http.client.HTTPConnection]:
    with web.make_server(artifact, "127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1])
        try:
            yield connection
        finally:
            connection.close()
            server.shutdown()
            thread.join()


def get(
    connection: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    return response, response.read()


def test_headers_types_and_files(fixtures: Path, page: Path) -> None:
    artifact = fixtures / "artifact"
    with served(artifact) as connection:
        response, body = get(connection, "/")
        assert (response.status, body) == (200, b"<!doctype html>")
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        for name, value in web.HEADERS.items():
            assert response.headers[name] == value
        response, body = get(connection, "/assets/a-1.wasm?v=1", method="HEAD")
        assert (response.headers["Content-Type"], body) == ("application/wasm", b"")
        assert "immutable" in response.headers["Cache-Control"]
        for name in ("manifest.json", "model.onnx", "model.onnx_data", "tokenizer.json"):
            assert get(connection, f"/model/{name}")[1] == (artifact / name).read_bytes()


@pytest.mark.parametrize(
    ("asked", "status", "first", "last"),
    [
        ("bytes=10-", 206, 10, 99),
        ("bytes=10-19", 206, 10, 19),
        ("bytes=90-200", 206, 90, 99),
        ("bytes=-5", 206, 95, 99),
        ("bytes=-500", 206, 0, 99),
        ("bytes=100-", 416, 0, -1),
        ("bytes=-0", 416, 0, -1),
        ("bytes=5-4", 200, 0, 99),
        ("bytes=0-1,5-6", 200, 0, 99),
        ("bytes=" + "9" * 5000 + "-", 200, 0, 99),
        ("lines=1-2", 200, 0, 99),
    ],
)
def test_ranges(fixtures: Path, page: Path, asked: str, status: int, first: int, last: int) -> None:
    with served(fixtures / "artifact") as connection:
        response, body = get(connection, "/assets/a-1.wasm", Range=asked)
        assert (response.status, body) == (status, bytes(range(first, last + 1)))
        expected = {200: None, 206: f"bytes {first}-{last}/100", 416: "bytes */100"}
        assert response.headers["Content-Range"] == expected[status]


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/model/",
        "/model/../index.html",
        "/..%2fartifact",
        "//etc/passwd",
        "/%00",
        "x://[",
    ],
)
def test_other_paths_are_not_found(fixtures: Path, page: Path, path: str) -> None:
    with served(fixtures / "artifact") as connection:
        assert get(connection, path)[0].status == 404
        assert get(connection, "/")[0].status == 200  # on the same connection


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["web", *arguments]) == 2
    return capsys.readouterr().err


def test_a_native_artifact_is_refused(
    demo_artifact: Path, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, str(demo_artifact))
    assert "has the target 'native', a browser runs 'stock'" in said
    assert "--target stock" in said


def test_a_page_that_was_not_built_is_a_sentence(
    fixtures: Path, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (page / "index.html").unlink()
    assert "hint: build it with: make web" in refused(capsys, str(fixtures / "artifact"))


def test_a_port_that_is_taken_is_a_sentence(
    fixtures: Path, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused(capsys, str(fixtures / "artifact"), "--port", port)
    assert f"127.0.0.1 port {port} cannot be served on: Address already in use" in said
    assert "--port is 65536" in refused(capsys, str(fixtures / "artifact"), "--port", "65536")


@pytest.mark.usefixtures("built_page")
def test_the_command_prints_its_url_and_ends_on_interrupt(fixtures: Path) -> None:
    command = [sys.executable, "-m", "bitnet_onnx", "web", str(fixtures / "artifact"), "--port=0"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Jobs in the background of a shell ignore interrupts, and so do these tests there.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("http://localhost:")
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "HTTPS" in said


# ------------------------------------------------------------------------------ the page's tests


def npm(script: str, fixtures: Path) -> None:
    """Run one of package.json's scripts; skipped, visibly, where `make web` has not run."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = shutil.which("npm", path=path)
    if command is None or not (SOURCES / "node_modules").is_dir():
        pytest.skip("Node or the page's packages are missing: make web")
    given = {"PATH": path, "PYTHON": sys.executable, "BITNET_ONNX_FIXTURES": str(fixtures)}
    done = subprocess.run(
        [command, "run", "--silent", script],
        cwd=SOURCES, env=os.environ | given,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout


def test_types(fixtures: Path) -> None:
    npm("check", fixtures)


@pytest.mark.slow
def test_the_engine_under_node(fixtures: Path) -> None:
    npm("test:unit", fixtures)


@pytest.mark.slow
@pytest.mark.usefixtures("built_page")
def test_the_page_in_chromium(fixtures: Path) -> None:
    browser = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if browser is None:
        pytest.skip("Chromium is missing: apt-get install chromium (or set CHROMIUM)")
    npm("test:browser", fixtures)


def test_the_lock_file_names_no_registry() -> None:
    """Installs go to the registry that the user's npm is set to."""
    lock = json.loads((SOURCES / "package-lock.json").read_text("utf-8"))
    fetched = (name for name, entry in lock["packages"].items() if "link" not in entry)
    assert not [name for name in fetched if "resolved" in lock["packages"][name]]
