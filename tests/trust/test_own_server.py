"""Tests that need their own server: expired keys, and an archive that tries to read the shell's secrets."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path

import pytest

from serving.store import publish
from tests.trust.access import GRPC_INFERENCE, GRPC_MANAGEMENT, INFERENCE, MANAGEMENT, call, http, keys, refused
from tests.trust.own import serving_null, store_of_null

pytestmark = pytest.mark.served
SECRETS = {"AWS_SECRET_ACCESS_KEY": "hunter2-aws", "HF_TOKEN": "hunter2-hub", "PGPASSWORD": "hunter2-database"}
LIFE_S = 3

# An archive that answers with its own environment and with that of the server's Java process.
NOSY = b"""
    def answer(self, batch, index, outputs, options):
        import os
        parent = open(f"/proc/{os.getppid()}/environ", errors="replace").read()
        return [sorted(os.environ.items()), sorted(line.split("=", 1) for line in parent.split(chr(0)) if line)]
"""


@pytest.fixture(scope="module")
def own(null_store: Path, tmp_path_factory: pytest.TempPathFactory):
    """A server of the nosy archive, started from a shell with secrets, whose keys live for three seconds."""
    folder = tmp_path_factory.mktemp("own")
    own = store_of_null(null_store, folder)
    with zipfile.ZipFile(null_store / "null.mar") as good, zipfile.ZipFile(own / "new", "w") as nosy:
        for name in good.namelist():
            nosy.writestr(name, good.read(name) + (NOSY if name == "null.py" else b""))
    publish(own / "new", own / "null.mar")
    shell = {**SECRETS, "HARMLESS": "seen"}
    with serving_null(own, folder, shell, token_expiration_min=str(LIFE_S / 60)) as served:
        yield served


def test_blacklist_env_vars_hides_secrets_from_handlers(own):
    worker, java = map(dict, own.client.predict("null", b"x", "text/plain").json()["predictions"])
    for environment in (worker, java):
        assert environment["HARMLESS"] == "seen"  # so a missing variable was hidden, not lost
        assert not SECRETS.keys() & environment.keys()
        assert not any(value in text for value in SECRETS.values() for text in environment.values())


@pytest.fixture(scope="module")
def expired(own):
    own.client.renew("inference")
    own.client.renew("management")
    time.sleep(LIFE_S + 0.2)
    return keys(own)


def test_expired_keys_open_nothing_over_http(own, expired):
    for kind, endpoints in (("inference", INFERENCE), ("management", MANAGEMENT)):
        for method, path in endpoints:
            reply = http(getattr(own.config, kind), method, path, f"Bearer {expired[kind]}")
            assert refused(reply), f"{method} {path}: {reply.status_code} {reply.text}"


def test_expired_keys_open_nothing_over_grpc(own, expired):
    for kind, services in (("inference", GRPC_INFERENCE), ("management", GRPC_MANAGEMENT)):
        for service in services:
            code, _ = call(own.config, f"grpc_{kind}_port", service, f"Bearer {expired[kind]}")
            assert code == "UNAUTHENTICATED", service


def test_a_client_outlives_its_keys(own, expired):
    assert own.client.predict("null", b"x", "text/plain").ok
