"""The installed ``tsi`` in another folder: builds an archive, serves it, sends a request, stops."""

import json
import re
import urllib.request

import pytest

from serving.config import Config
from tests.conftest import write_config
from tests.trust.place import rewrite
from tests.tsi.stranger import call

pytestmark = pytest.mark.served
# In the archive's handler: the origin of the worker's modules, and the project's modules that it could import too.
SEEN = b"""
    def answer(self, batch, index, outputs, options):
        import importlib.util
        import handlers
        rooms = ("serving", "export", "loadtest", "openapi", "tsi_client")
        return {"handlers": handlers.__file__, "others": [each for each in rooms if importlib.util.find_spec(each)]}
"""


@pytest.fixture
def home(tmp_path, installed):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    write_config(folder / "config.properties")
    yield folder
    assert call(installed, folder, "stop").returncode == 0


def ask(home, token):
    """The answer of the server of that folder to a request."""
    url = f"{Config.load(home / 'config.properties').inference}/predictions/null"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "text/plain"}
    with urllib.request.urlopen(urllib.request.Request(url, b"hello", headers), timeout=60) as reply:
        return json.load(reply)


def test_the_installed_tsi_builds_serves_and_stops(installed, home):
    done = call(installed, home, "serve")
    assert done.returncode == 1
    assert done.stderr == f"{home}/model_store holds no archive; run: tsi archive\n"
    done = call(installed, home, "archive", "MODELS=null")
    assert done.returncode == 0, done.stdout + done.stderr
    rewrite(home / "model_store" / "null.mar", lambda name, data: data + SEEN if name == "null.py" else data)
    done = call(installed, home, "serve", "--models", "null")
    assert done.returncode == 0, done.stdout + done.stderr
    token = call(installed, home, "token").stdout.strip()
    seen = ask(home, token)["predictions"]
    assert seen["others"] == [] and re.search(r"/torchserve-\w+/models/\w+/handlers/", seen["handlers"])
    assert call(installed, home, "status").returncode == 0
    found = {path.name for path in home.iterdir()}
    assert found == {"config.properties", "model_store", ".run"} | ({".tsi"} & found)
    done = call(installed, home, "clean")
    assert done.returncode == 0 and {path.name for path in home.iterdir()} == {"config.properties", "model_store"}
