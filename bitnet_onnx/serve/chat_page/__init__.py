"""The server's own page: a conversation with one of its models.

Knows one file; does not know models. The page may run its own script and style, which its header
names by their hashes, and reach this server, and nothing else.
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

__all__ = ["chat_page"]

PAGE = Path(__file__).with_name("page.html")


async def chat_page(request: Request) -> Response:
    """Return the page; it has no secret, and asks for the key itself."""
    text, policy = _page()
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
    }
    return Response(text, headers=headers, media_type="text/html")


@cache
def _page() -> tuple[str, str]:
    """Return the page and its policy."""
    text = PAGE.read_text("utf-8")
    script, style = (_hash(text, name) for name in ("script", "style"))
    return text, (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(text: str, name: str) -> str:
    """Return a policy's source for the text of the page's only element of a name."""
    (inner,) = re.findall(f"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return f"'sha256-{b64encode(sha256(inner.encode()).digest()).decode()}'"
