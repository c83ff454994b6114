"""The names by which clients may call a server.

Knows host names and addresses; does not know requests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address

from ..errors import ConfigError

__all__ = ["Names"]

AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{0,5})?")


class Names:
    """localhost, the name that a server was asked to listen on, and those that are allowed."""

    def __init__(self, host: str, allowed: Iterable[str] = (), everywhere: bool = False) -> None:
        """everywhere: it listens on all addresses. Raises ConfigError for what is no name."""
        own = _normal(host.partition("%")[0])  # without the scope of an IPv6 address
        self._names = {"localhost", own, *map(_allowed_name, allowed)}
        self.everywhere = everywhere

    def answers_to(self, authority: str) -> bool | None:
        """Return whether a Host header names this server; None where it is no host at all.

        Otherwise a page of another site, whose name leads here, could read everything. An address
        in figures is no such name: it is accepted where the server listens on all addresses.
        """
        found = AUTHORITY.fullmatch(authority.strip())
        if found is None:
            return None
        name = _normal(found[1] or found[2])
        try:
            address = ip_address(name)
        except ValueError:
            return name in self._names
        return name in self._names or address.is_loopback or self.everywhere


def _normal(name: str) -> str:
    """Return a host as browsers send it: an address in its shortest form, a name in lower case."""
    try:
        return str(ip_address(name))
    except ValueError:
        return name.lower()


def _allowed_name(text: str) -> str:
    bare = text[1:-1] if text[:1] + text[-1:] == "[]" else text
    try:
        name = _normal(bare if ":" in bare else bare.encode("idna").decode("ascii"))
    except UnicodeError:  # an empty or overlong part
        name = ""
    found = AUTHORITY.fullmatch(f"[{name}]" if ":" in name else name)
    if found is None:
        raise ConfigError(f"--allow-host is {text!r}, expected a name such as demo.example")
    return name
