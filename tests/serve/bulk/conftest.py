"""The packages of the server, without which these tests are skipped."""

from __future__ import annotations

import pytest

for package in ("starlette", "prometheus_client"):
    pytest.importorskip(package, reason="the extra server")
