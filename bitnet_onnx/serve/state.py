"""What a running server has: its models, which a reload replaces, and its key.

Knows models; does not know HTTP.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from ..errors import BitNetError
from .models import Generating, Limits, Served, closed, opened

__all__ = ["State"]

S = TypeVar("S", bound=Served)


class State:
    """The models by name; requests in work keep the ones that they began with."""

    def __init__(
        self, folders: Mapping[str, Path], limits: Limits, api_key: str | None = None
    ) -> None:
        self.limits, self._folders, self._lock = limits, dict(folders), threading.Lock()
        self._key = None if api_key is None else api_key.encode()
        self.models: Mapping[str, Served] = opened(folders, limits)
        self._users = threading.Condition()
        self.stopping = False
        self._former: set[Served] = set()

    def lets_in(self, key: str | None) -> bool:
        """Return whether a key is the server's, in a time that does not depend on the key."""
        if self._key is None:
            return True
        return hmac.compare_digest((key or "").encode("utf-8", "surrogateescape"), self._key)

    @property
    def has_key(self) -> bool:
        """Whether requests must give a key."""
        return self._key is not None

    def take(self, choose: Callable[[Mapping[str, Served]], S]) -> S:
        """Return the model that ``choose`` finds; no reload closes it before ``give_back``."""
        with self._users:
            served = choose(self.models)
            served.users += 1
            return served

    def give_back(self, served: Served) -> None:
        """End one use of a model."""
        with self._users:
            served.users -= 1
            self._users.notify_all()

    def reload(self) -> list[BitNetError]:
        """Open the folders again, then close the former models after their last requests.

        Returns what they could not keep. Raises a BitNetError, and changes nothing, where a folder
        cannot be opened.
        """
        with self._lock:
            made = opened(self._folders, self.limits)
            with self._users:
                before, self.models = self.models, made
            self._former.update(before.values())
        return [error for served in before.values() for error in self._closed(served)]

    def _closed(self, served: Served) -> list[BitNetError]:
        """Close a former model once no request has it, also one that has asked nothing yet."""
        with self._users:
            self._users.wait_for(lambda: not served.users, self.limits.seconds)
        try:
            return closed([served], timeout=self.limits.seconds)
        finally:
            self._former.discard(served)

    def cancel(self) -> None:
        """End all answers that are being made, also those of former models."""
        for served in [*self.models.values(), *self._former]:
            served.cancel()

    def close(self, timeout: float) -> None:
        """End all models; answers that take longer are cut off.

        Raises BitNetError where one of them cannot keep its beginnings of prompts.
        """
        self.stopping = True
        with self._lock:
            for error in closed(self.models.values(), timeout=timeout):
                raise error

    @property
    def generating(self) -> list[Generating]:
        """The models that generate."""
        return [served for served in self.models.values() if isinstance(served, Generating)]
