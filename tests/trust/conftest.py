"""What the tests of a file ask of its ``server``, a fixture that each file has for itself."""

from __future__ import annotations

import pytest


@pytest.fixture
def base(server):
    return server.config.inference


@pytest.fixture
def token(server):
    return server.client.token()
