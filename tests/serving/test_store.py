"""The store's digests: the archives that ``make serve`` refuses, and digest files that common tools read."""

import shutil
import subprocess

import pytest

from serving.store import archives, sha256
from tests.conftest import run


@pytest.fixture
def copied(null_store, tmp_path):
    for path in null_store.glob("null.mar*"):
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
    assert "Traceback" not in refused.stderr and not (copied / "run" / "server.json").exists()


def test_sha256sum_reads_the_digest_files(copied):
    """SECURITY.md documents this."""
    listing = copied / "SHA256SUMS"
    subprocess.run("cat *.sha256 > SHA256SUMS && sha256sum -c SHA256SUMS", shell=True, cwd=copied, check=True)
    flip(copied / "null.mar")
    assert subprocess.run(["sha256sum", "--status", "-c", listing], cwd=copied).returncode == 1


@pytest.fixture
def signed(copied):
    """A store whose digest files are signed by a new key; the key's public half."""
    minisign = pytest.importorskip("minisign", reason="py-minisign is not installed")
    pair = minisign.KeyPair.generate()
    listing = copied / "null.mar.sha256"
    copied.joinpath("null.mar.sha256.minisig").write_bytes(bytes(pair.secret_key.sign(listing.read_bytes())))
    copied.joinpath("key.pub").write_bytes(bytes(pair.public_key))
    return copied


def another_key(store):
    import minisign

    store.joinpath("key.pub").write_bytes(bytes(minisign.KeyPair.generate().public_key))


def other_archive(store):
    """Changes everything but the signature, as somebody with write access could."""
    flip(store / "null.mar")
    store.joinpath("null.mar.sha256").write_text(f"{sha256(store / 'null.mar')}  null.mar\n")


def test_signed_archives_are_served(signed, monkeypatch):
    monkeypatch.setenv("STORE_KEY", str(signed / "key.pub"))
    assert list(archives(signed)) == ["null"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (other_archive, "is not signed by"),
        (another_key, "is not signed by"),
        (lambda store: store.joinpath("null.mar.sha256.minisig").unlink(), "No such file"),
        (lambda store: store.joinpath("null.mar.sha256.minisig").write_text("x"), "is not signed by"),
        (lambda store: store.joinpath("key.pub").unlink(), "No such file"),
    ],
)
def test_files_that_the_key_has_not_signed_are_refused(signed, change, why):
    assert archives(signed)  # without STORE_KEY no signature is checked
    change(signed)
    settings = {"MODEL_STORE": str(signed), "RUN_DIR": str(signed / "run"), "MODELS": "", "VARIANTS": ""}
    refused = run("serving", "serve", STORE_KEY=str(signed / "key.pub"), **settings)
    assert refused.returncode == 1 and why in refused.stderr and "minisign -Sm" in refused.stderr
    assert "Traceback" not in refused.stderr and not (signed / "run" / "server.json").exists()
