"""The requests of the pages are sent to a real TorchServe unchanged, and get the documented answers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from tests.conftest import ROOT
from tests.docs.pages import Block, blocks

pytestmark = pytest.mark.served
OWN = "your-handler.md"  # requests to a user's models, which tests/serving/test_user_handler.py sends
REQUESTS = [each for each in blocks("sh") if "$U/predictions" in each.text and each.page != OWN]
HEADER = re.compile(r"^A=.*U=\S+\n")  # the line with which a block finds the user's own server


@pytest.fixture
def folder(tmp_path):
    """A folder with the files that the pages name."""
    (tmp_path / "handlers").symlink_to(ROOT / "handlers")
    (tmp_path / "texts.json").write_text('{"text": ["one", "two"]}')
    shutil.copy(ROOT / "handlers" / "samples" / "coffee.jpg", tmp_path / "photo.jpg")
    return tmp_path


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize("block", REQUESTS, ids=str)
def test_each_request_of_a_block_is_answered(served, folder, block: Block):
    start = f"A='Authorization: Bearer {served.client.token()}'; U={served.config.inference}\n"
    start += 'curl() { command curl -sS --fail-with-body --max-time 60 "$@"; echo; }\n'
    command = ["bash", "-e", "-c", start + HEADER.sub("", block.text)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    answers = [json.loads(line) for line in done.stdout.splitlines() if line]
    requests = [line for line in block.text.splitlines() if line.startswith("curl ")]
    assert done.returncode == 0 and done.stderr == "" and len(answers) == len(requests) > 0, done.stdout + done.stderr
    for request, answer in zip(requests, answers, strict=True):
        if key := re.search(r'# \{"(\w+)": ', request):
            assert key[1] in answer, request
