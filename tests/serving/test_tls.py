"""A server with its own certificate, for another name than loopback: it starts, answers and stops."""

import datetime
import re
import subprocess

import httpx2
import pytest

from serving.client import direct
from serving.config import Config
from serving.errors import ServingError
from tests.trust.place import place

x509 = pytest.importorskip("cryptography.x509", reason="comes with the extra 'signed', which make test installs")
pytestmark = pytest.mark.served


def write_certificate(folder, name):
    """<name>.pem and <name>.key: a certificate for that host name, signed by its RSA key; TorchServe reads no other."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@pytest.fixture(scope="module")
def server(null_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    for name in ("models.example.org", "another.example.org"):
        write_certificate(folder, name)
    with place(folder, null_store) as made:
        secure = made.config.path.read_text().replace("_address=http://", "_address=https://")
        files = "certificate_file=models.example.org.pem\nprivate_key_file=models.example.org.key\n"
        made.config.path.write_text(secure + files)
        made.config = Config.load(made.config.path)
        made.printed = made.verb("serve")
        assert made.printed.returncode == 0, made.printed.stdout + made.printed.stderr
        made.folder = folder
        yield made


def test_the_server_starts_and_the_printed_curl_line_works(server):
    (line,) = re.findall(r"^ +(curl .*)$", server.printed.stdout, re.MULTILINE)
    assert "https://127.0.0.1:" in line
    assert subprocess.run(["sh", "-c", line], capture_output=True, text=True).stdout == '{"predictions":[]}'
    status = server.verb("status")
    assert status.returncode == 0 and status.stdout.startswith(f"{server.config.inference} (pid ")


def test_errors_are_readable_before_the_connection_ends(server):
    refused = server.client.predict("nobody", b"x", "text/plain")
    assert refused.status_code == 404 and refused.json()["code"] == 404
    with direct(server.folder / "models.example.org.pem") as session:
        untold = session.post(f"{server.config.inference}/predictions/null", content=bytes(1 << 20))
    assert untold.status_code == 401 and untold.json()["type"] == "InvalidKeyException"


def test_a_server_with_another_certificate_is_not_trusted(server):
    with direct(server.folder / "another.example.org.pem") as session:
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            session.get(f"{server.config.inference}/ping")
    with pytest.raises(ServingError, match="no readable PEM certificate"):
        direct(server.folder / "models.example.org.key")
