"""A server behind TLS with a private authority: measured when the authority is named, refused when it is not."""

import datetime
import ipaddress
import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT, run

x509 = pytest.importorskip("cryptography.x509", reason="comes with the extra 'signed', which make test installs")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A file with a key and its self-signed certificate for 127.0.0.1."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *plain) + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture(scope="module")
def address(certificate):
    command = [sys.executable, "-m", "tests.loadtest.stalling", "serve", "0", str(certificate)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        yield server.stdout.readline().strip()
        server.terminate()


def measure(address, folder, **variables):
    settings = {"MODELS": "null", "CONCURRENCY": "2", "DURATION": "0.5", "ROUNDS": "1", "TOKEN": "x", **variables}
    return run("loadtest", HOST=address, RESULTS=str(folder), **settings)


def test_a_server_with_a_certificate_of_its_own_is_measured(address, certificate, tmp_path):
    done = measure(address, tmp_path, SSL_CERT_FILE=str(certificate))
    assert done.returncode == 0, done.stdout + done.stderr
    (summary,) = tmp_path.glob("*/summary.json")
    (row,) = json.loads(summary.read_text())["rows"]
    assert row["errors"] == 0 and row["requests"] > 10 and 2 <= row["p50_ms"] < 50


def test_one_that_nobody_vouches_for_is_refused(address, tmp_path):
    done = measure(address, tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith("name yours: SSL_CERT_FILE=ca.pem\n"), done.stderr


def test_a_missing_file_of_certificates_is_named(address, tmp_path):
    done = measure(address, tmp_path, SSL_CERT_FILE=str(tmp_path / "none.pem"))
    assert done.returncode == 2 and "there is no such file" in done.stderr
