"""A full disk under a running server: requests are answered, keys are not lost, and logs continue once there is
space."""

import shutil
import time

import pytest

from serving.errors import ServingError
from tests.trust.disk import fill, small_disk
from tests.trust.figures import FULL, record
from tests.trust.place import eventually, place, rewrite

pytestmark = pytest.mark.served
REQUESTS = 3000 if FULL else 300
TALKS = """    def read(self, payload: Payload) -> list[Any]:
        for _ in range(len(payload.raw or b"")):
            print("y" * 2000)
"""
LOG_MB = 60  # more than the four files of 10 MB that are kept


def talkative(archive):
    """null, which prints a long line for each byte of a request, to fill the log."""
    quiet = TALKS.splitlines(keepends=True)[0].encode()
    rewrite(archive, lambda name, data: data.replace(quiet, TALKS.encode()) if name == "null.py" else data)


def fill_the_log(client, directory):
    """Writes LOG_MB; returns the MB that are left of it, by file, when the last line has arrived."""
    for _ in range(LOG_MB):
        assert client.predict("null", b"x" * 500, "text/plain").ok
    seen = [log_sizes(directory)]
    while len(seen) < 5 or any(each != seen[-1] for each in seen[-5:]):
        time.sleep(0.1)
        seen.append(log_sizes(directory))
    return seen[-1]


def log_sizes(directory):
    return {path.name: round(path.stat().st_size / 1e6, 1) for path in sorted(directory.logs.glob("model_log*"))}


def test_logs_roll_and_a_full_disk_costs_log_lines_and_nothing_else(null_store, tmp_path):
    (tmp_path / "run").mkdir()
    with small_disk(tmp_path / "run", "64m") as disk, place(tmp_path, null_store) as server:
        talkative(server.store / "null.mar")
        server.serve()
        client, log = server.client, server.directory.model_log
        kept = fill_the_log(client, server.directory)
        assert len(kept) == 4 and max(kept.values()) <= 11 and sum(kept.values()) > 25, kept
        record("log_files", written_mb=LOG_MB, kept_mb=kept)
        fill(disk)
        answered = sum(client.predict("null", b"1", "text/plain").ok for _ in range(REQUESTS))
        assert answered == REQUESTS and shutil.disk_usage(disk).free == 0
        keys = server.directory.key_file.read_bytes()
        with pytest.raises(ServingError, match="cannot be renewed: the disk"):
            client.renew()
        assert server.directory.key_file.read_bytes() == keys
        assert server.verb("status").returncode == 0
        (disk / "ballast").unlink()
        cut_off_at = log.stat().st_size
        assert client.renew() not in keys.decode()
        eventually(lambda: client.predict("null", b"1", "text/plain").ok and log.stat().st_size > cut_off_at)
    record("full_disk_of_a_server", requests=REQUESTS, answered=answered, keys_lost=0, logs_resume=True)


def test_serve_on_a_full_disk_says_so(null_store, tmp_path):
    (tmp_path / "run").mkdir()
    with small_disk(tmp_path / "run", "1m") as disk, place(tmp_path, null_store) as server:
        server.directory.create()  # as after an earlier server: the folder is this project's
        fill(disk)
        failed = server.verb("serve")
        assert failed.returncode == 1 and "No space left on device" in failed.stderr
        assert "Traceback" not in failed.stderr and server.directory.read() is None
