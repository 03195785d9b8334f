"""The manifests for the tests: the files, and the output of Kustomize."""

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

KUBERNETES, KSERVE = ROOT / "deploy" / "kubernetes", ROOT / "deploy" / "kserve"
OVERLAYS = {"cpu": KUBERNETES / "overlays" / "cpu", "gpu": KUBERNETES / "overlays" / "gpu", "kserve": KSERVE}
PAGE = ROOT / "docs" / "kubernetes.md"
CHECKOUT = "../torchscript-inference"  # of this project, as the page's own overlay sees it


def tool():
    """The command that renders a folder; skips without one."""
    if found := shutil.which("kubectl"):
        return [found, "kustomize"]
    if found := shutil.which("kustomize"):
        return [found, "build"]
    pytest.skip("neither kubectl nor kustomize is on PATH; https://kubectl.docs.kubernetes.io/installation")


@functools.cache
def rendered(folder):
    """The objects that Kustomize renders of a folder, by kind."""
    done = subprocess.run([*tool(), str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}


def own(folder):
    """A folder below ``folder`` with the page's own overlay, both of its components in use. Kustomize takes relative
    paths only."""
    place = folder / "own"
    place.mkdir()
    [text] = re.findall(r"^```yaml\n(apiVersion: kustomize.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    text = re.sub(r"^# ", "", text, flags=re.MULTILINE).replace(CHECKOUT, os.path.relpath(ROOT, place))
    (place / "kustomization.yaml").write_text(text)
    return place


def written(name):
    """The object in a file below deploy/kubernetes."""
    return yaml.safe_load((KUBERNETES / name).read_text())


def deployment():
    """The Deployment of the base."""
    return written("base/deployment.yaml")


def container():
    """Its container."""
    return deployment()["spec"]["template"]["spec"]["containers"][0]


def checkov():
    """Checkov in a separate environment, since its hundred packages conflict with the project's pins; skips without
    it."""
    made = ROOT / ".cache" / "checkov" / "bin" / "checkov"
    found = str(made) if made.exists() else shutil.which("checkov", path=os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ["PATH"]]))  # fmt: skip
    if not found:
        pytest.skip("checkov is not there: python3 -m venv .cache/checkov && .cache/checkov/bin/pip install checkov")
    return found
