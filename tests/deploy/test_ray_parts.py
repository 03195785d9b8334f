"""The parts of deploy/ray that need no running Ray: bodies, tokens, archives, configuration."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from serving.errors import ServingError
from tests.conftest import ROOT, run, write_config

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]', or make serve ENGINE=ray")

from deploy.ray import content  # noqa: E402
from deploy.ray.refusal import Refusal  # noqa: E402
from deploy.ray.tokens import Tokens, current, renew  # noqa: E402

FORM, PARTS = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"


def multipart(*parts: tuple[str, bytes], end: bytes = b"--b--\r\n") -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    return b"".join(head % (name.encode(), value) for name, value in parts) + end


@pytest.mark.parametrize(
    ("body", "given", "fields", "meant"),
    [
        (b"hello", "text/plain", {"body": b"hello"}, "text/plain"),
        (b"hello world", FORM, {"body": b"hello world"}, "text/plain"),
        (b' {"text": "a=b"}', FORM, {"body": b' {"text": "a=b"}'}, "application/json"),
        (b"\xff\xd8\xff=&", FORM, {"body": b"\xff\xd8\xff=&"}, "application/octet-stream"),
        (b"RIFF1234WEBP", FORM, {"body": b"RIFF1234WEBP"}, "application/octet-stream"),
        (b"text=a+b%21&top_k=3", FORM, {"text": b"a b!", "top_k": b"3"}, FORM),
        (b"text=%ff", FORM, {"text": b"\xff"}, FORM),
        (b"[1]", FORM, {"[1]": b""}, FORM),
        (multipart(("text", b"\xff\r\n--"), ("top_k", b"3")), PARTS, {"text": b"\xff\r\n--", "top_k": b"3"}, PARTS),
    ],
)
def test_a_body_is_read_by_its_real_type(body, given, fields, meant):
    assert content.read(body, given) == (fields, meant)


@pytest.mark.parametrize(
    ("body", "given", "status"),
    [
        (b"a=1&a=2", FORM, 400),
        (b"a=%zz", FORM, 400),
        (b"a=" + b"x" * (1 << 16), FORM, 413),
        (b"&".join([b"a"] * 1_001), FORM, 413),
        (multipart(("text", b"a"), ("text", b"b")), PARTS, 400),
        (multipart(("text", b"a"), end=b""), PARTS, 400),
        (multipart(*[("text", b"")] * 1_001), PARTS, 413),
        (b"no part", PARTS, 400),
        (multipart(("text", b"a")), "multipart/form-data", 400),
    ],
)
def test_an_invalid_form_is_refused(body, given, status):
    with pytest.raises(Refusal) as refused:
        content.read(body, given)
    assert refused.value.status == status


def test_gzip_is_decompressed_within_the_limit():
    packed = gzip.compress(b"a" * 500) + gzip.compress(b"b" * 500)
    assert content.unpacked(packed, 1_000) == b"a" * 500 + b"b" * 500
    for damaged, status in ((packed, 413), (packed[:-9], 400), (b"no gzip", 400)):
        with pytest.raises(Refusal) as refused:
            content.unpacked(damaged, 999 if status == 413 else 1_000)
        assert refused.value.status == status


def test_a_token_stays_valid_when_the_file_has_a_newer_one(tmp_path):
    key_file = tmp_path / "key_file.json"
    renew(key_file, 1)
    tokens, old = Tokens(True, str(key_file)), current(key_file)[0]
    assert tokens.admit(f"Bearer {old}") and not tokens.admit("Bearer x") and not tokens.admit(None)
    renew(key_file, 1)
    new = current(key_file)[0]
    tokens._read_at = float("-inf")
    assert new != old and tokens.admit(f"Bearer {new}") and tokens.admit(f"Bearer {old}")
    tokens._expiring[old.encode()] = time.time() - 1
    assert not tokens.admit(f"Bearer {old}") and os.stat(key_file).st_mode & 0o077 == 0


def test_tokens_that_do_not_expire_follow_changes_of_their_file(tmp_path):
    path = tmp_path / "token"
    path.write_text("a" * 40 + "\nshort\n")
    tokens = Tokens(True, token_file=str(path))
    assert tokens.admit("Bearer " + "a" * 40) and not tokens.admit("Bearer short")
    path.write_text("b" * 40)
    tokens._read_at = float("-inf")
    assert tokens.admit("Bearer " + "b" * 40) and not tokens.admit("Bearer " + "a" * 40)
    assert Tokens(False).admit(None)


LOADS = """
import sys; from pathlib import Path; from deploy.ray.archive import Asked, Loaded; from serving.store import sha256
path = Path(sys.argv[1])
loaded = Loaded(path, sys.argv[2] if len(sys.argv) > 2 else sha256(path), {"batch_size": 3})
asked = [Asked({"body": b"a"}, {"body": {"content-type": "text/plain"}}), Asked({"body": b"a"}, {}, "9"),
         Asked({"body": b""}, {}, "1.0")]
answers = [(each.status, each.headers.get("x-model-version"), bool(each.body)) for each in loaded.ask(asked)]
print(loaded.batch_size, answers)
print(sys.modules["handlers"].__file__)
"""


def load(archive: Path, temp: Path, *more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TMPDIR": str(temp)}
    return subprocess.run([sys.executable, "-c", LOADS, str(archive), *more], cwd=ROOT, env=environment,
                          capture_output=True, text=True)  # fmt: skip


def test_an_archive_is_loaded_with_its_own_handlers_and_checked_before(null_store, tmp_path):
    archive = null_store / "null.mar"
    for _ in range(2):  # the second time it is unpacked already, but a cleaner has removed a file
        done = load(archive, tmp_path)
        said, home = done.stdout.splitlines()
        assert said.startswith("3 [(200, '1.0', True), (404, None, False), ("), done.stderr
        assert Path(home).is_relative_to(tmp_path)
        Path(home).unlink()
    assert "has the SHA-256" in load(archive, tmp_path, "0" * 64).stderr
    folder = tmp_path / f"archives-of-{os.geteuid()}"
    folder.chmod(0o755)
    assert "is not a folder of this user alone" in load(archive, tmp_path).stderr


@pytest.fixture
def place(null_store, tmp_path):
    token = tmp_path / "token"
    token.write_text("t" * 40)
    config = write_config(tmp_path / "config.properties", inference_address="http://0.0.0.0:8080",
                          inference_token_file=str(token), job_queue_size="7")  # fmt: skip
    return {"CONFIG": str(config), "MODEL_STORE": str(null_store), "MODELS": "null", "VARIANTS": ""}


def test_the_configuration_fits_rays_own_schema(place, null_store):
    from ray.serve.schema import ServeDeploySchema

    made = run("deploy.ray", **place, NODES="3")
    assert made.returncode == 0, made.stderr
    found = ServeDeploySchema.model_validate(yaml.safe_load(made.stdout))
    assert (found.http_options.host, found.http_options.port) == ("0.0.0.0", 8080)
    front, null = found.applications
    assert (front.name, front.route_prefix, null.name, null.route_prefix) == ("_front", "/", "null", None)
    assert (front.deployments[0].num_replicas, front.deployments[0].max_replicas_per_node) == (3, 1)
    assert null.args["archive"] == str(null_store / "null.mar") and null.deployments[0].max_queued_requests == 7
    assert null.deployments[0].autoscaling_config["target_ongoing_requests"] == 2


def test_an_error_of_the_configuration_is_one_sentence(place, tmp_path):
    mine = tmp_path / "store"
    mine.mkdir()
    config = write_config(tmp_path / "other.properties")
    shutil.copy(ROOT / "README.md", mine / "mine.mar")
    for changed, said in (
        ({"NODES": "x"}, "NODES=x is not a whole number above 0"),
        ({"CONFIG": str(config)}, "names no inference_token_file"),
        ({"CONFIG": str(write_config(tmp_path / "tls", inference_address="https://127.0.0.1:1"))}, "has no TLS here"),
        ({"MODEL_STORE": str(mine)}, "is not what was built"),
    ):
        done = run("deploy.ray", **{**place, **changed})
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    done = run("serving", "serve", **place, ENGINE="other", RUN_DIR=str(tmp_path / "run"))
    assert done.returncode == 1 and done.stderr.startswith("ENGINE=other is not known; write one of: torchserve, ray")


def test_the_archives_own_handlers_are_not_mixed_with_the_checkouts(null_store):
    import handlers  # noqa: F401
    from deploy.ray.archive import _service

    with pytest.raises(ServingError, match="handlers of another archive"):
        _service(null_store, "null.py")
    sys.path.remove(str(null_store))
