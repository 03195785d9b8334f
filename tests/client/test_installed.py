"""The client as users install it: its wheel in an environment without torch, against the running server."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.client.empty_environment import environment, needed, wheel
from tests.conftest import ROOT

SEVEN = ROOT / "handlers" / "samples" / "seven.png"
CALLER = """
from tsi_client import Client, Overloaded

def embedding(client: Client, text: str) -> list[float]:
    try:
        return list(client.predict("m", text, timeout=1.5)["embedding"])
    except Overloaded as error:
        return [error.retry_after or 0.0]
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(built, tmp_path_factory):
    return environment(tmp_path_factory.mktemp("environment"), built, "numpy")


@pytest.fixture(scope="module")
def with_grpc(built, tmp_path_factory):
    """The same with the extra grpc."""
    return environment(tmp_path_factory.mktemp("grpc"), built, "grpc")


@pytest.fixture(scope="module")
def bare(built, tmp_path_factory):
    """The same without numpy."""
    return environment(tmp_path_factory.mktemp("bare"), built)


def run(python, folder, *arguments):
    """A process of that Python that finds nothing of the checkout."""
    return subprocess.run(
        [str(python), "-I", *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=120
    )


def test_torch_is_not_installed_and_numpy_only_with_its_extra(built, python, bare, tmp_path):
    assert "No module named 'torch'" in run(python, tmp_path, "-c", "import torch").stderr
    code = "from tsi_client import Client; Client('http://127.0.0.1:9').infer('m', {'x': [1]})"
    assert run(bare, tmp_path, "-c", code).stderr.endswith("infer() needs numpy; run: pip install numpy\n")
    assert {"httpx2", "anyio"} <= needed(built, ()) and not needed(built, ("numpy",)) & {"torch", "requests", "ts"}


@pytest.mark.served
def test_the_installed_client_works_against_the_running_server(served, python, tmp_path):
    known = served.config.inference, served.config.management, served.directory.key_file, SEVEN
    done = run(python, tmp_path, ROOT / "tests" / "client" / "stranger.py", *known)
    assert done.returncode == 0 and done.stdout == "fine\n", done.stdout + done.stderr


@pytest.mark.served
def test_the_installed_grpc_client_works_against_the_running_server(served, with_grpc, tmp_path):
    known = grpc_address(served), served.config.inference, served.config.management, served.directory.key_file, SEVEN
    done = run(with_grpc, tmp_path, ROOT / "tests" / "client" / "stranger_grpc.py", *known)
    assert done.returncode == 0 and done.stdout == "fine\n", done.stdout + done.stderr


def grpc_address(served):
    return f"http://127.0.0.1:{served.config.properties['grpc_inference_port']}"


def test_the_extra_grpc_has_its_packages_and_is_named_where_it_is_missing(built, bare, tmp_path):
    assert needed(built, ("grpc",)) - needed(built, ()) <= {"grpcio", "protobuf", "numpy", "typing-extensions"}
    said = run(bare, tmp_path, "-c", "import tsi_client.grpc").stderr
    assert said.endswith("tsi_client.grpc needs grpcio and protobuf; run: pip install grpcio protobuf\n")


def test_a_callers_types_are_checked(bare, tmp_path):
    (tmp_path / "good.py").write_text(CALLER)
    (tmp_path / "bad.py").write_text(CALLER.replace("timeout=1.5", "timeout='soon'"))
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(bare), "good.py", "bad.py"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert re.fullmatch(r'bad\.py:6: error: Argument "timeout".*\nFound 1 error in 1 file.*\n', checked.stdout), (
        checked.stdout
    )


@pytest.mark.served
@pytest.mark.parametrize("page", ["README.md", "docs/client.md"])
def test_the_code_of_the_pages_runs(served, with_grpc, tmp_path, page):
    found = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    code = "\n".join(each for each in found if "tsi_client" in each)
    assert "client.predict(" in code
    for here, there in (
        ("http://127.0.0.1:8080", served.config.inference), ("http://127.0.0.1:8081", served.config.management),
        (".run/key_file.json", str(served.directory.key_file)), ("photo.jpg", str(SEVEN)),
        ("http://127.0.0.1:7070", grpc_address(served)),
        ("handlers/samples/coffee.jpg", str(SEVEN.with_name("coffee.jpg"))),
    ):  # fmt: skip
        code = code.replace(here, there)
    (tmp_path / "page.py").write_text(f"import os\nos.environ['TOKEN'] = {served.client.token()!r}\n{code}")
    done = run(with_grpc, tmp_path, "page.py")
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert said and done.stdout.splitlines() == said
