"""A real server against its OpenAPI document: schemathesis sends valid and invalid requests, and compares every status,
content type, header and body with the document. docs/api-reference.md has the long run."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import requests

from openapi import __main__ as writing
from openapi.document import document
from openapi.models import of_archive
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.served,
    pytest.mark.skipif(not find_spec("schemathesis"), reason="schemathesis is not installed; it needs Python 3.11"),
]
NAMES = ("null", "digits-torchscript", "bert-eager")  # the cheapest of each kind
# PUT is the same as POST, and the rest is the same code as null's or bert's; the long run has them.
LEFT_OUT = [f"{name}.put" for name in NAMES] + [
    "digits-torchscript.predict-v1", "bert-eager.predict-v1", "digits-torchscript.infer",
]  # fmt: skip
HERE = Path(__file__).parent


def check(served, folder, *arguments):
    """The finished process of schemathesis, with the document of these archives."""
    path = folder / "openapi.json"
    store = Path(served.environment["MODEL_STORE"])
    described = document([of_archive(store / f"{name}.mar") for name in NAMES], served.config.inference)
    path.write_text(writing.text(described))
    command = [
        Path(sys.executable).with_name("schemathesis"), "--config-file", HERE / "schemathesis.toml", "run", path,
        "--url", served.config.inference, "--header", f"Authorization: Bearer {served.client.token()}",
        "--generation-deterministic", "--request-timeout", "60", "--no-color", *arguments,
    ]  # fmt: skip
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.openapi.hooks", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def test_the_server_answers_as_its_document_says(served, tmp_path):
    left_out = [word for each in LEFT_OUT for word in ("--exclude-operation-id", each)]
    done = check(served, tmp_path, "--phases", "examples,coverage,fuzzing", "--max-examples", "3", *left_out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Tested: 16" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predictions/null", "POST, PUT, OPTIONS"), ("DELETE", "/predictions/null/1.0", "POST, PUT, OPTIONS"),
        ("PUT", "/v1/models/null:predict", "POST, OPTIONS"), ("POST", "/ping", "GET, HEAD"),
        ("GET", "/v2/models/null/infer", "POST, OPTIONS"), ("PUT", "/v2/health/live", "GET, OPTIONS"),
        ("TRACE", "/v2/models/null/versions/1.0/ready", "GET, OPTIONS"),
    ],
)  # fmt: skip
def test_a_method_that_a_url_does_not_take_is_refused_and_the_others_are_named(served, method, path, allowed):
    access = {"Authorization": f"Bearer {served.client.token()}"}
    reply = requests.request(method, served.config.inference + path, headers=access, data=b"hello", timeout=60)
    assert (reply.status_code, reply.headers["Allow"]) == (405, allowed)
    assert allowed in reply.text and method in reply.text


def test_a_file_may_be_put(served):
    access = {"Authorization": f"Bearer {served.client.token()}"}
    file = (ROOT / "handlers/samples/seven.png").read_bytes()
    reply = requests.put(
        f"{served.config.inference}/predictions/digits-torchscript", headers=access, data=file, timeout=60
    )
    assert reply.json()["predictions"][0]["label"] == "7"
