"""A full disk under a running server: answers go on, keys are not lost, logs go on once there is space."""

import shutil

import pytest

from serving.client import Tokens
from serving.errors import ServingError
from tests.trust.disk import fill, small_disk
from tests.trust.figures import FULL, record
from tests.trust.place import eventually, place, rewrite

pytestmark = pytest.mark.served
REQUESTS = 3000 if FULL else 300
LINE = 2000
TALKS = f"""    def read(self, payload: Payload) -> list[Any]:
        print("y" * {LINE})
"""


def talkative(archive):
    """null, which prints a long line for each request: a log that a full disk cuts off at once."""
    quiet = TALKS.splitlines(keepends=True)[0].encode()
    rewrite(archive, lambda name, data: data.replace(quiet, TALKS.encode()) if name == "null.py" else data)


def test_a_full_disk_costs_log_lines_and_nothing_else(store, tmp_path):
    (tmp_path / "run").mkdir()
    with small_disk(tmp_path / "run", "24m") as disk, place(tmp_path, store) as server:
        talkative(server.store / "null.mar")
        server.serve()
        client, log = server.client, server.directory.model_log
        fill(disk)
        answered = sum(client.predict("null", b"x", "text/plain").ok for _ in range(REQUESTS))
        assert answered == REQUESTS and shutil.disk_usage(disk).free == 0
        keys = server.directory.key_file.read_bytes()
        tokens = Tokens(server.directory.key_file, server.config.management)
        with pytest.raises(ServingError, match="cannot be renewed: the disk"):
            tokens.renew("inference", client.token())
        assert server.directory.key_file.read_bytes() == keys
        assert server.verb("status").returncode == 0
        (disk / "ballast").unlink()
        cut_off_at = log.stat().st_size
        assert tokens.renew("inference", client.token()) not in keys.decode()
        eventually(lambda: client.predict("null", b"x", "text/plain").ok and log.stat().st_size > cut_off_at)
    record("full_disk_of_a_server", requests=REQUESTS, answered=answered, keys_lost=0, logs_resume=True)


def test_serve_on_a_full_disk_says_so(store, tmp_path):
    (tmp_path / "run").mkdir()
    with small_disk(tmp_path / "run", "1m") as disk, place(tmp_path, store) as server:
        fill(disk)
        failed = server.verb("serve")
        assert failed.returncode == 1 and "No space left on device" in failed.stderr
        assert "Traceback" not in failed.stderr and server.directory.read() is None
