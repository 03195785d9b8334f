"""The store's digests: what ``make serve`` refuses, and that the usual tools read the same files."""

import shutil
import subprocess

import pytest

from tests.conftest import run


@pytest.fixture
def copied(store, tmp_path):
    for path in store.glob("null.mar*"):
        shutil.copy(path, tmp_path)
    return tmp_path


def flip(archive):
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)


@pytest.mark.parametrize("change", [flip, lambda archive: archive.with_name("null.mar.sha256").unlink()])
def test_serve_refuses_by_name_before_anything_starts(copied, change):
    change(copied / "null.mar")
    refused = run("serving", "serve", MODEL_STORE=str(copied), RUN_DIR=str(copied / "run"), MODELS="", VARIANTS="")
    assert refused.returncode == 1 and "null.mar is not what was built" in refused.stderr
    assert "Traceback" not in refused.stderr and not (copied / "run").exists()


def test_sha256sum_reads_the_digest_files(copied):
    """SECURITY.md has this as the way to sign a store."""
    listing = copied / "SHA256SUMS"
    subprocess.run("cat *.sha256 > SHA256SUMS && sha256sum -c SHA256SUMS", shell=True, cwd=copied, check=True)
    flip(copied / "null.mar")
    assert subprocess.run(["sha256sum", "--status", "-c", listing], cwd=copied).returncode == 1
