"""The distributions of the project and of the client: their files and their version."""

import re
import zipfile

import pytest

from setup import FILES, ROOMS
from tests.conftest import ROOT
from tests.tsi.conftest import copied, environment, sdist_of, wheel_of
from tests.tsi.stranger import call

NEVER = re.compile(r"\.py[co]$|__pycache__|(^|/)(tests|results|\.[^/]+)(/|$)|\.mar$")


def sources(folder, but=()):
    """The files below a folder of the checkout that belong to it, by name."""
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
    return {name for name in found if not NEVER.search(name) and not any(f"/{each}/" in name for each in but)}


def names(wheel):
    """The files of a wheel without its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_has_the_package_and_the_code_of_the_verbs_and_nothing_else(wheel):
    code = {name for room in ROOMS for name in sources(room, but=["java"])} | set(FILES)
    assert names(wheel) == sources("tsi") | {f"tsi/code/{name}" for name in code}
    assert "serving/front_end/front_end.jar" in code and "handlers/samples/seven.png" in code


def test_the_source_distribution_builds_the_same_wheel_and_has_nothing_that_a_checkout_gathers(source, wheel, tmp_path):
    unpacked = sdist_of(source, tmp_path)
    found = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    assert [name for name in found if NEVER.search(name)] == []
    assert {"pyproject.toml", "setup.py", "README.md", "CHANGELOG.md", "LICENSE"} <= found
    assert names(wheel_of(unpacked, tmp_path)) == names(wheel)


def test_the_clients_wheel_is_its_package_alone(tmp_path):
    wheel = wheel_of(copied("client", tmp_path), tmp_path)
    assert {f"client/{name}" for name in names(wheel)} == sources("client/tsi_client")


def test_the_version_is_that_of_pyproject_and_of_the_changelog(wheel, installed, tmp_path):
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert wheel.name.startswith(f"torchscript_inference-{version}-")
    assert call(installed, tmp_path, "--version").stdout == f"tsi, version {version}\n"
    client = re.search(r'^version = "(.+)"$', (ROOT / "client/pyproject.toml").read_text(), re.MULTILINE)[1]
    assert client == version
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "[Unreleased]" and re.fullmatch(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", headings[1])


@pytest.mark.parametrize("editable", [True, False], ids=["editable", "wheel"])
def test_no_folder_of_the_code_can_be_imported_where_tsi_is_installed(installed, tmp_path, editable):
    there = environment(tmp_path / "environment", "-e", copied("", tmp_path)) if editable else installed
    rooms = {room.partition("/")[0] for room in ROOMS} | {"tsi_client"}
    code = f"import importlib.util as u, tsi; print([each for each in {sorted(rooms)} if u.find_spec(each)])"
    done = call(there, tmp_path, "-c", code, program="python")
    assert done.stdout == "[]\n", done.stderr
    done = call(there, tmp_path, "status")
    assert (done.returncode, done.stdout) == (1, "TorchServe is not running; run: tsi serve\n"), done.stderr
