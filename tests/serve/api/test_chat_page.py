"""The server's own page: whom it is given to, and what it may do."""

from __future__ import annotations

import re
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
