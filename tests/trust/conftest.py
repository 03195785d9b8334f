"""Fixtures from a file's own fixture ``server``."""

from __future__ import annotations

import pytest


@pytest.fixture
def base(server):
    return server.config.inference


@pytest.fixture
def token(server):
    return server.client.token()
