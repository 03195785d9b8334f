"""docs/leaving-torchserve.md: its server answers an archive's requests in a process that cannot import TorchServe."""

import contextlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import requests

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "leaving-torchserve.md").read_text()
CODE = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
REFERENCE = """
import json, sys, tempfile, zipfile, numpy, tokenizers, torch
folder = tempfile.mkdtemp()
zipfile.ZipFile(sys.argv[1]).extractall(folder)
found = tokenizers.Tokenizer.from_file(folder + "/tokenizer.json").encode("hello world")
model = torch.jit.load(folder + "/model.pt").eval()
with torch.inference_mode():
    vector = model(torch.tensor([found.ids]), torch.tensor([found.attention_mask]))
print(json.dumps((vector[0] if isinstance(vector, tuple) else vector)[0].tolist()))
"""


@contextlib.contextmanager
def plain(archive, folder):
    """Runs the page's server; yields the base of its URLs."""
    forbidden = "import sys; sys.modules['ts'] = None\n"  # an import of it is an ImportError from here on
    (folder / "plain.py").write_text(forbidden + CODE)
    command = [sys.executable, str(folder / "plain.py"), str(archive), "0"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        said = process.stdout.readline()
        assert said.startswith("Ready on port"), said + process.communicate()[1]
        yield f"http://127.0.0.1:{said.split()[-1]}/"
    finally:
        process.kill()
        process.communicate()


@pytest.mark.served
def test_the_pages_server_answers_as_the_model_does_without_torchserve(store, tmp_path):
    archive = store / "minilm-torchscript.mar"
    done = subprocess.run([sys.executable, "-c", REFERENCE, archive], capture_output=True, text=True, check=True)
    expected = np.array(json.loads(done.stdout))
    with plain(archive, tmp_path) as url:
        text = requests.post(url, b"hello world", headers={"Content-Type": "text/plain"}, timeout=60)
        several = requests.post(url, json={"text": ["hello world", "good bye"]}, timeout=60)
        bad = requests.post(url, json={"texts": 1}, timeout=60)
    assert (text.status_code, several.status_code, bad.status_code) == (200, 200, 400)
    assert text.headers["x-variant"] == "torchscript" and text.headers["Content-Type"] == "application/json"
    assert np.abs(np.array(text.json()["embedding"]) - expected).max() < 1e-5
    assert np.abs(np.array(several.json()["embeddings"][0]) - expected).max() < 1e-5
    assert "message" in bad.json()


def test_the_parity_that_the_page_states_is_the_published_one():
    rows = json.loads((ROOT / "docs" / "results" / "compare-cpu.json").read_text())["rows"]
    peers = ("fastapi", "litserve", "bentoml", "ray", "mlserver")
    assert {row["subject"]: row["cosine"] for row in rows if row["subject"] in peers} == dict.fromkeys(peers, 1.0)
    assert "cosine 1.000000" in PAGE
