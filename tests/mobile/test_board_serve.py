"""The server of the program for boards: OpenAI's form, the answers of Python, hostile clients."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import stat
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bitnet_onnx.files import sha256
from bitnet_onnx.generation.chat import Chat
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.native.board import Served, run, served

QUESTION = "What is 27 + 5?"
USER = {"role": "user", "content": QUESTION}
TARGET = b"POST /v1/chat/completions HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
TYPE = b"Content-Type: application/json\r\n"


@pytest.fixture(scope="module")
def server(demo_artifact: Path) -> Iterator[Served]:
    with served(demo_artifact) as started:
        yield started


def completion(server: Served, *messages: dict[str, str], **fields: Any) -> dict[str, Any]:
    status, body = server.post({"messages": list(messages), **fields})
    assert status == 200, body
    answer: dict[str, Any] = json.loads(body)
    return answer


def text_of(answer: dict[str, Any]) -> str:
    message = answer["choices"][0]["message"]
    assert message["role"] == "assistant"
    return str(message["content"])


def still_serves(server: Served) -> None:
    assert text_of(completion(server, USER)) == "32"


def test_a_completion_has_the_form_of_openai(server: Served, demo_artifact: Path) -> None:
    answer = completion(server, USER, model=demo_artifact.name)
    assert answer["object"] == "chat.completion"
    assert answer["model"] == demo_artifact.name
    assert text_of(answer) == "32"
    assert answer["choices"][0]["finish_reason"] == "stop"
    usage = answer["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (
        16,
        3,
        19,
    )
    assert completion(server, USER, max_tokens=1)["choices"][0]["finish_reason"] == "length"
    status, body = server.parsed(b"GET /v1/models HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (status, json.loads(body)["data"][0]["id"]) == (200, demo_artifact.name)


def test_a_stream_has_the_pieces_of_the_answer(server: Served) -> None:
    status, body = server.post(
        {"messages": [USER], "stream": True, "stream_options": {"include_usage": True}}
    )
    assert status == 200
    events = body.decode().removesuffix("\n\n").split("\n\n")
    assert all(event.startswith("data: ") for event in events)
    assert events.pop() == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert len({(chunk["id"], chunk["model"], chunk["object"]) for chunk in chunks}) == 1
    assert chunks.pop()["usage"]["completion_tokens"] == 3
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"]["role"] == "assistant"
    assert "".join(choice["delta"].get("content", "") for choice in choices) == "32"
    assert [choice["finish_reason"] for choice in choices[-2:]] == [None, "stop"]


@pytest.mark.parametrize(
    ("stop", "text"),
    [("2", "3"), (["2"], "3"), (["a stop string of many bytes", "3"], ""), (["x"] * 16, "32")],
)
def test_stop_strings_end_an_answer(server: Served, stop: str | list[str], text: str) -> None:
    stopped = completion(server, USER, stop=stop)
    assert (text_of(stopped), stopped["choices"][0]["finish_reason"]) == (text, "stop")


def test_a_conversation_is_that_of_python_and_costs_its_last_message(
    server: Served, demo_artifact: Path
) -> None:
    messages = [{"role": "system", "content": "Be brief."}]
    with Session(demo_artifact) as session:
        chat = Chat(session, Tokenizer.from_folder(demo_artifact), system="Be brief.")
        for number, question in enumerate([QUESTION, "Spell the word STONE.", "What is 3 + 4?"]):
            messages.append({"role": "user", "content": question})
            answer = completion(server, *messages)
            assert text_of(answer) == "".join(chat.send(question))
            assert chat.result is not None
            assert answer["usage"]["prompt_tokens"] == chat.result.prompt_tokens
            assert number == 0 or answer["usage"]["prompt_tokens_details"]["cached_tokens"] > 16
            messages.append({"role": "assistant", "content": text_of(answer)})


def test_the_server_s_options_stand_before_the_artifact_s(demo_artifact: Path) -> None:
    hot = {"temperature": 5, "seed": 1, "max_tokens": 12}
    with served(demo_artifact, "--temperature", "5", "--max-new-tokens", "12") as server:
        texts = [text_of(completion(server, USER, seed=seed)) for seed in range(6)]
        assert len(set(texts)) > 1
        assert text_of(completion(server, USER, temperature=0)) == "32"
        assert texts[1] == text_of(completion(server, USER, **hot))
        assert server.ends() == 0


REFUSED: list[tuple[bytes | dict[str, Any], str | None]] = [
    (b"", None),
    (b"{", None),
    (b"[]", None),
    (b'{"messages": [], "messages": []}', None),
    (b'{"messages": "\xff"}', None),
    (b"[" * 100000, None),
    ({}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": [USER, USER]}, "messages[1].role"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0]"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
    ({"messages": [USER | {"name": "n"}]}, "messages[0].name"),
    ({"messages": [USER, {"role": "assistant", "content": "x"}]}, "messages"),
    ({"messages": [{"role": "user", "content": "word " * 2000}]}, "messages"),
    ({"messages": [USER], "model": "gpt-4"}, "model"),
    ({"messages": [USER], "n": 2}, "n"),
    ({"messages": [USER], "tools": []}, "tools"),
    ({"messages": [USER], "logprobs": True}, "logprobs"),
    ({"messages": [USER], "response_format": {"type": "json_object"}}, "response_format"),
    ({"messages": [USER], "presence_penalty": 0.5}, "presence_penalty"),
    ({"messages": [USER], "stream": "yes"}, "stream"),
    ({"messages": [USER], "stream_options": {"include_usage": True}}, "stream_options"),
    ({"messages": [USER], "max_tokens": 0}, "max_tokens"),
    ({"messages": [USER], "max_tokens": 1, "max_completion_tokens": 1}, "max_completion_tokens"),
    ({"messages": [USER], "temperature": "hot"}, "temperature"),
    ({"messages": [USER], "seed": -1}, "seed"),
    ({"messages": [USER], "stop": [""]}, "stop"),
    ({"messages": [USER], "stop": ["a"] * 17}, "stop"),
    ({"messages": [USER], "not\nknown": 1}, "not\nknown"),
]


@pytest.mark.parametrize(("body", "field"), REFUSED)
def test_what_is_not_obeyed_is_refused_by_name(
    server: Served, body: bytes | dict[str, Any], field: str | None
) -> None:
    status, said = server.post(body)
    error = json.loads(said)["error"]
    assert (status, error["param"]) == (400, field), error
    assert error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "words"), [({"top_k": 3}, "top_k acts only when sampling"),
                          ({"temperature": -1}, "temperature is -1"),
                          ({"temperature": 1, "top_p": 7}, "top_p is 7")],
)  # fmt: skip
def test_options_out_of_range_are_refused(
    server: Served, fields: dict[str, Any], words: str
) -> None:
    status, said = server.post({"messages": [USER], **fields})
    assert status == 400
    assert words in json.loads(said)["error"]["message"]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (TARGET + b"Host: example.org\r\n" + TYPE + b"Content-Length: 2\r\n\r\n{}", 403),
        (TARGET + b"Host: 127.0.0.1.example.org\r\n" + TYPE + b"Content-Length: 0\r\n\r\n", 403),
        (TARGET + TYPE + b"Content-Length: 2\r\n\r\n{}", 400),
        (TARGET + HOST + HOST + TYPE + b"Content-Length: 2\r\n\r\n{}", 400),
        (TARGET + HOST + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415),
        (TARGET + HOST + b"Content-Length: 2\r\n\r\n{}", 415),
        (TARGET + HOST + TYPE + b"\r\n", 411),
        (TARGET + HOST + TYPE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (TARGET + HOST + TYPE + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 411),
        (TARGET + HOST + TYPE + b"Content-Length: -2\r\n\r\n{}", 400),
        (TARGET + HOST + TYPE + b"Content-Length: 1048577\r\n\r\n", 413),
        (TARGET + HOST + TYPE + b"Content-Length: 99999999999999999999\r\n\r\n", 413),
        (TARGET + HOST + TYPE + b"Content-Length: 2\r\n\r\n{}GET / HTTP/1.1", 400),
        (TARGET + HOST + b"X: " + b"a" * 20000 + b"\r\n\r\n", 431),
        (TARGET + HOST + b"X : y\r\n\r\n", 400),
        (TARGET + HOST + b" folded\r\n\r\n", 400),
        (b"GET /v1/chat/completions HTTP/1.1\r\n" + HOST + b"\r\n", 405),
        (b"OPTIONS /v1/chat/completions HTTP/1.1\r\n" + HOST + b"\r\n", 405),
        (b"GET /../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"GET /v1/models HTTP/2\r\n" + HOST + b"\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nHost: [::1]:99999\r\n\r\n", 403),
        (b"GET http://example.org/v1/models HTTP/1.1\r\n" + HOST + b"\r\n", 403),
        (b"GET http://localhost HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"GET /v1/models/other HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    ],
)
def test_requests_that_are_refused(server: Served, request_bytes: bytes, status: int) -> None:
    said = server.raw(request_bytes)
    assert said.startswith(b"HTTP/1.1 %d " % status), said
    assert json.loads(said.split(b"\r\n\r\n", 1)[1])["error"]["message"]
    still_serves(server)


def test_head_gets_the_head_alone(server: Served) -> None:
    for target, status in ((b"/v1/models", 200), (b"/v1/chat/completions", 405), (b"/", 404)):
        said = server.raw(b"HEAD " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")
        assert said.startswith(b"HTTP/1.1 %d " % status)
        assert said.endswith(b"\r\n\r\n")
        assert said.count(b"\r\n\r\n") == 1


def test_models_are_listed_and_described(server: Served, demo_artifact: Path) -> None:
    name = demo_artifact.name.encode()
    ends = b" HTTP/1.1\r\n" + HOST + b"\r\n"
    status, listed = server.parsed(b"GET http://localhost/v1/models" + ends)
    assert status == 200
    status, one = server.parsed(b"GET /v1/models/" + name + ends)
    assert status == 200
    assert json.loads(listed)["data"] == [json.loads(one)]
    assert json.loads(one)["id"] == name.decode()


def test_values_that_turn_an_option_off_are_taken(server: Served) -> None:
    assert text_of(completion(server, USER, top_p=1, top_k=0, min_p=0)) == "32"


def test_a_conversation_beyond_the_context_is_refused_as_openai_refuses_it(server: Served) -> None:
    turn = [USER, {"role": "assistant", "content": "32"}]
    for turns in (60, 6000):
        status, said = server.post({"messages": turn * turns + [USER]})
        error = json.loads(said)["error"]
        assert (status, error["param"]) == (400, "messages")
        assert error["code"] == "context_length_exceeded"
    still_serves(server)


def test_what_the_model_cannot_is_no_fault_of_the_client(
    demo_artifact: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(demo_artifact, folder)
    weights = folder / "model.onnx_data"
    weights.write_bytes(b"\xc0\x7f" * (weights.stat().st_size // 2))  # NaN
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    size, digest = weights.stat().st_size, sha256(weights)
    manifest["files"][weights.name] = {"size": size, "sha256": digest}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with served(folder) as server:
        status, said = server.post({"messages": [USER]})
    error = json.loads(said)["error"]
    assert (status, error["type"], error["param"]) == (500, "server_error", None)
    assert "the highest logit is nan" in error["message"]


def test_clients_that_go_away_or_wait_harm_nobody(server: Served) -> None:
    body = json.dumps({"messages": [USER], "stream": True}).encode()
    asked = TARGET + HOST + TYPE + b"Content-Length: %d\r\n\r\n" % len(body) + body
    idle = [server.connect() for _ in range(4)]
    for size in (0, 1, len(TARGET), len(asked) - 1, len(asked)):
        client = server.connect()
        client.sendall(asked[:size])
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()  # by a reset
    still_serves(server)
    for client in idle:
        client.close()


def test_a_body_that_waits_for_a_word_gets_it(server: Served) -> None:
    body = json.dumps({"messages": [USER]}).encode()
    head = TARGET + HOST + TYPE + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    with server.connect() as client:
        client.sendall(head)
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")


def test_many_clients_at_once_get_their_own_answers(server: Served) -> None:
    asked = {QUESTION: "32", "Reverse PAINT.": "TNIAP", "Which is larger, 52 or 38?": "52"}
    questions = list(asked) * 10

    def ask(question: str) -> str:
        return text_of(completion(server, {"role": "user", "content": question}))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, questions)) == [asked[question] for question in questions]


@pytest.mark.slow
def test_clients_that_say_nothing_are_cut_off(demo_artifact: Path) -> None:
    """More of them than the server holds: it serves others after their time."""
    with served(demo_artifact) as server:
        idle = [server.connect() for _ in range(20)]
        still_serves(server)
        assert idle[0].recv(100).startswith(b"HTTP/1.1 408 ")
        for client in idle:
            client.close()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)]
)
def test_a_signal_is_an_orderly_end(
    number: int, code: int, demo_artifact: Path, tmp_path: Path
) -> None:
    path = tmp_path / "socket"
    with served(demo_artifact, on=f"unix:{path}") as server:
        still_serves(server)
        with server.connect():
            assert server.ends(number) == code
        assert server.process.stderr is not None
        assert server.process.stderr.read() == b""
        assert not path.exists()


def test_a_unix_socket(demo_artifact: Path, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    with served(demo_artifact, on=f"unix:{path}") as server:
        assert stat.S_ISSOCK(path.stat().st_mode)
        still_serves(server)
        second = run(demo_artifact, "--serve", f"unix:{path}")
        assert second.returncode == 2
        assert b"cannot be served on: Address already in use" in second.stderr
        still_serves(server)


def test_a_file_that_is_no_socket_stays(demo_artifact: Path, tmp_path: Path) -> None:
    file, link, folder = (tmp_path / name for name in ("file", "link", "folder"))
    file.write_text("mine")
    link.symlink_to(file)
    folder.mkdir()
    for path in (file, link, folder):
        done = run(demo_artifact, "--serve", f"unix:{path}")
        assert done.returncode == 2
        assert b"cannot be served on: Address already in use" in done.stderr
        assert path.exists()
    assert file.read_text() == "mine"
    assert link.is_symlink()


def test_a_port_that_is_taken_is_one_sentence(server: Served, demo_artifact: Path) -> None:
    taken = server.address.removeprefix("http://")
    done = run(demo_artifact, "--serve", taken)
    assert done.returncode == 2
    assert b"cannot be served on: Address already in use" in done.stderr
