"""The server's own page: whom it is given to, and what it may do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("httpx")
pytest.importorskip("uvicorn")
import httpx

from bitnet_onnx.serve.models import Limits

if TYPE_CHECKING:
    from tests.support.serve.serving import Served


def policy(answer: httpx.Response) -> dict[str, list[str]]:
    """The sources of each directive."""
    parts = answer.headers["content-security-policy"].split("; ")
    return {name: sources for name, *sources in map(str.split, parts)}


def test_the_page_may_run_its_own_script_and_style_and_reach_its_server(server: Served) -> None:
    answer = server.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    allowed = policy(answer)
    for name in ("script", "style"):
        (inner,) = re.findall(f"<{name}>(.*?)</{name}>", answer.text, re.DOTALL)
        digest = b64encode(sha256(inner.encode()).digest()).decode()
        assert allowed.pop(f"{name}-src") == [f"'sha256-{digest}'"]
    assert allowed.pop("connect-src") == ["'self'"]
    assert allowed.pop("img-src") == ["data:"]
    assert {"default-src", "base-uri", "form-action", "frame-ancestors"} == set(allowed)
    assert all(sources == ["'none'"] for sources in allowed.values())


def test_the_page_loads_nothing_and_makes_no_text_into_elements(server: Served) -> None:
    text = server.get("/").text
    assert re.findall(r"https?:|//[a-z]|\bsrc=|@import|url\(", text) == []
    assert re.findall(r'href="([^"]*)"', text) == ["data:,"]
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text) == []
    assert re.findall(r"\son[a-z]+=|\sstyle=", text) == [], "the policy refuses those"
    assert re.findall(r"localStorage|sessionStorage|cookie", text) == [], "the key is not kept"
    paths = set(re.findall(r'ask\("(.*?)"', text))
    assert paths == {"v1/models", "v1/chat/completions"}


def test_the_page_is_given_without_the_key_and_only_to_the_servers_host(
    demo_artifact: Path,
) -> None:
    from tests.support.serve.serving import served

    with served({"demo": demo_artifact}, Limits(threads=1), "sesame") as keyed:
        assert keyed.get("/").status_code == 200
        assert keyed.get("/v1/models").status_code == 401
        assert keyed.get("/", host="evil.example").status_code == 403
        assert keyed.get("/", origin="http://evil.example").status_code == 403
        assert httpx.head(keyed.url + "/").content == b""
        assert "sesame" not in keyed.get("/").text


# The page's script with as much of a browser as it uses. Reads the script and what its server
# answers from stdin; writes what the conversation shows.
BROWSER = """
const { script, key, bodies } = JSON.parse(require("fs").readFileSync(0));
const made = () => ({ value: "", listeners: {}, shown: [],
  addEventListener(name, listener) { this.listeners[name] = listener; },
  append(line) { this.shown.push(line); },
  replaceChildren(...options) { this.value = options[0]?.value ?? ""; },
  scrollIntoView() {}, focus() {}, remove() { this.removed = true; } });
const elements = new Proxy({}, { get: (all, id) => (all[id] ??= made()) });
elements.key.value = key;
globalThis.document = { getElementById: (id) => elements[id], createElement: made };
globalThis.Option = function (text, value) { this.value = value; };
globalThis.fetch = async (path) => {
  if (path === "v1/models") return Response.json({ data: [{ id: "m" }] });
  const body = bodies.shift();
  if (body === null) throw new TypeError("Failed to fetch");
  return new Response(new ReadableStream({ pull(control) {
    const part = body.shift();
    if (part === undefined) control.close();
    else if (part === null) control.error(new TypeError("network error"));
    else control.enqueue(new TextEncoder().encode(part));
  } }));
};
new Function(script)();
(async () => {
  const asked = bodies.length;
  for (let i = 0; i < asked; i++) {
    elements.text.value = "question";
    await elements.form.listeners.submit({ preventDefault() {} });
  }
  console.log(JSON.stringify(elements.log.shown.filter((line) => !line.removed)
    .map((line) => [line.className, line.textContent, line.dir])));
})();
"""
EARLY = "The answer ended early: the server or the connection is gone."


def shown(server: Served, key: str, *bodies: list[str | None] | None) -> list[tuple[str, str]]:
    """Ask a question for each body of events; None in its place is a server that is gone."""
    if (node := shutil.which("node")) is None:
        pytest.skip("Node is not installed")
    (script,) = re.findall("<script>(.*?)</script>", server.get("/").text, re.DOTALL)
    fed = json.dumps({"script": script, "key": key, "bodies": bodies})
    done = subprocess.run([node, "-e", BROWSER], input=fed, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = json.loads(done.stdout)
    assert {direction for _, _, direction in lines} <= {"auto"}, "Hebrew goes from right to left"
    return [(kind, text) for kind, text, _ in lines if kind != "user"]


def said(text: str) -> str:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n"


def test_an_answer_that_ends_early_is_told_from_a_whole_one(server: Served) -> None:
    error = 'data: {"error": {"message": "the server is stopping"}}\n\n'
    assert shown(
        server,
        "",
        [said("a whole"), said(" answer"), "data: [DONE]\n\n"],
        [said("half")],
        [said("cut"), None],
        [said("stopped"), error],
        None,
    ) == [
        ("assistant", "a whole answer"),
        ("assistant", "half"),
        ("error", EARLY),
        ("assistant", "cut"),
        ("error", EARLY),
        ("assistant", "stopped"),
        ("error", "the server is stopping"),
        ("error", "The server cannot be reached."),
    ]


@pytest.mark.parametrize("key", ["sésame", "a b", "\u2603"])
def test_a_key_that_no_header_can_hold_is_one_sentence(server: Served, key: str) -> None:
    told = {text for kind, text in shown(server, key, []) if kind == "error"}
    assert told == {"The API key has letters or blanks that no key has."}
