"""Servers that compare starts: all their processes end with them, and FastAPI gives the same answers as the file.

FastAPI's environment is installed if it is missing, in a few seconds. If that fails, the test is skipped, or fails with
COMPARE=full.
"""

from __future__ import annotations

import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from compare import environments, servers
from compare.answers import LEAST_COSINE, Vectors
from compare.errors import CompareError
from compare.peers_table import BY_NAME, Peer
from compare.plan import Setting
from export.catalog import model
from loadtest.load.cores import Split
from loadtest.load.payloads import payloads
from tests.conftest import STORE

TITLED = """
import ctypes, time
first = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")[0]
ctypes.memset(first, 0, 3)  # as a process does that writes its title
print("titled", flush=True)
time.sleep(600)
"""
LEAVER = f"""
import os, socket, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {TITLED!r}], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
with socket.create_server(("127.0.0.1", int(os.environ["PORT"]))):
    time.sleep(600)
"""


def opened(peer, folder, python=Path(sys.executable), setting=Setting(2, 1, 8, 2.0)):  # noqa: B008 - it is frozen
    return servers.peers(peer, setting, False, python, folder, "cpu", Split(), folder / "log.txt")


def script(tmp_path, text):
    (tmp_path / "peer.py").write_text(text)
    return Peer("toy", "Toy", (), str(tmp_path / "peer.py"))


def test_a_process_that_left_its_parents_group_and_wrote_its_title_ends_with_the_server(tmp_path):
    with opened(script(tmp_path, LEAVER), tmp_path) as running:
        child = int((tmp_path / "log.txt").read_text())
        assert {child} < {each.pid for each in running.processes()} and running.memory_mib() > 1
        scratch = psutil.Process(child).cwd()
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert not Path(scratch).exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(running.host.rsplit(":", 1)[1]))) != 0


def test_a_server_that_ends_at_once_is_an_error_with_its_last_words(tmp_path):
    with pytest.raises(CompareError, match=r"Toy ended while starting \(status 1\): no such model"):
        with opened(script(tmp_path, "raise SystemExit('no such model')"), tmp_path):
            pass


def test_a_peer_inherits_none_of_the_shells_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    text = "import os; raise SystemExit(os.environ.get('AWS_SECRET_ACCESS_KEY', 'none') + os.environ['THREADS'])"
    with pytest.raises(CompareError, match=": none1"):
        with opened(script(tmp_path, text), tmp_path):
            pass


@pytest.fixture
def python(monkeypatch):
    monkeypatch.setattr(environments, "INSTALL_TIMEOUT_S", 900 if os.environ.get("COMPARE") == "full" else 15)
    try:
        return environments.python_of(BY_NAME["fastapi"])
    except CompareError as error:
        if os.environ.get("COMPARE") == "full":
            raise
        pytest.skip(f"{error} (COMPARE=full insists)")


@pytest.mark.served
def test_fastapi_answers_in_batches_what_the_file_answers_alone(python, store, tmp_path):
    servers.unpack(STORE / "minilm-torchscript.mar", tmp_path)
    asked = payloads(model("minilm"))[:16]
    vectors = Vectors(dict(zip([each.name for each in asked], alone(tmp_path, asked), strict=True)),
                      BY_NAME["fastapi"].answer, LEAST_COSINE)  # fmt: skip
    with opened(BY_NAME["fastapi"], tmp_path, python, Setting(1, 1, 8, 2.0)) as running:

        def ask(payload):
            return requests.post(running.host + running.route, data=payload.body, timeout=60).content

        vectors.check(asked, ask)
        with ThreadPoolExecutor(len(asked)) as pool:
            answers = list(pool.map(ask, asked))
    assert all(vectors.matches(payload, body) for payload, body in zip(asked, answers, strict=True))
    assert not vectors.matches(asked[0], answers[1])


def alone(folder, asked):
    """The file's answer to each text alone, without padding and without the peers' code."""
    import torch
    from tokenizers import Tokenizer

    module, tokenizer = torch.jit.load(folder / "model.pt"), Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    with torch.inference_mode():
        for payload in asked:
            ids = torch.tensor([tokenizer.encode(payload.body.decode()).ids])
            found = module(ids, torch.ones_like(ids))
            yield (found[0] if isinstance(found, tuple) else found)[0].tolist()
