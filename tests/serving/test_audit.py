"""``make audit`` and the list of libraries inside TorchServe's jar, against the real jar and the tests' own
database."""

import copy
import importlib.util
import json
import shutil
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from serving.audit.front_end import SECURITY, documented, jar, listed, stale
from serving.audit.osv import AuditError, of_maven
from tests.conftest import run

needs_pip_audit = pytest.mark.skipif(not importlib.util.find_spec("pip_audit"), reason="pip-audit is not installed")


def test_the_list_fits_the_installed_jar():
    assert stale(jar(), listed()) == []


def test_the_page_has_the_list():
    assert SECURITY.read_text() == documented(SECURITY.read_text(), listed()), "run: python -m serving.audit --document"


def test_another_jar_another_version_and_another_library_are_noticed(tmp_path):
    other = tmp_path / "model-server.jar"
    shutil.copy(jar(), other)
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("com/example/New.class", b"")
    facts = copy.deepcopy(listed())
    netty = next(each for each in facts["components"] if each["name"] == "Netty")
    netty["stated"][1] = "netty-codec-http.version=4.1.54.Final"
    found = " ".join(stale(other, facts))
    assert "SHA-256 differs" in found and "Netty is not 4.1.53" in found and "no component has com/example/New" in found


def test_every_advisory_names_a_listed_component_and_a_mitigation():
    names = {each["name"] for each in listed()["components"]}
    known = [each["id"] for each in listed()["advisories"]]
    assert len(set(known)) == len(known)
    assert all(each["component"] in names and each["mitigation"] for each in listed()["advisories"])


@contextmanager
def database(advisories):
    """A stand-in for OSV: {package name: [advisory, ...]}, in its API's form; yields its URL and the received
    queries."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((query["package"]["ecosystem"], query["package"]["name"], query["version"]))
            found = advisories.get(query["package"]["name"])
            body = json.dumps({"vulns": found} if found else {}).encode()
            self.send_response(200 if self.path == "/v1/query" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()


def advisory(name, *aliases, ecosystem="PyPI", package="pillow"):
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}]
    dates = {"published": "2026-01-01T00:00:00Z", "modified": "2026-01-01T00:00:00Z"}
    affected = [{"package": {"name": package, "ecosystem": ecosystem}, "ranges": ranges}]
    return {"id": name, "aliases": list(aliases), "summary": "s", "details": "d", "affected": affected, **dates}


@needs_pip_audit
def test_answered_advisories_are_no_error(tmp_path):
    with database({"io.netty:netty-codec-http": [advisory("GHSA-x", "CVE-2024-29025")]}) as (url, asked):
        done = run("serving.audit", OSV_URL=url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Advisories with an answer in SECURITY.md: 1; without: 0." in done.stdout
    assert ("Maven", "io.netty:netty-codec-http", "4.1.53.Final") in asked
    assert ("PyPI", "torchserve", "0.12.0") in asked and len(asked) > 140


@needs_pip_audit
def test_open_advisories_of_either_kind_fail():
    found = {"pillow": [advisory("PYSEC-1", "CVE-1")], "org.yaml:snakeyaml": [advisory("GHSA-2", "CVE-2")]}
    with database(found) as (url, _):
        done = run("serving.audit", OSV_URL=url)
    assert done.returncode == 1 and "without: 2." in done.stdout
    assert "CVE-1, PYSEC-1" in done.stdout and "org.yaml:snakeyaml 2.1: CVE-2, GHSA-2" in done.stdout


@needs_pip_audit
def test_without_the_database_nothing_is_reported_as_checked():
    done = run("serving.audit", OSV_URL="http://127.0.0.1:9")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("Nothing was checked: the advisory database at http://127.0.0.1:9 does not answer")
    assert "Traceback" not in done.stderr


def test_an_invalid_answer_does_not_count_as_checked():
    with database({}) as (url, _), pytest.raises(AuditError, match="Nothing was checked"):
        of_maven(f"{url}/elsewhere", {"maven": ["a:b"], "version": "1"})
    assert of_maven("http://127.0.0.1:9", {"maven": [], "version": "1"}) == []
