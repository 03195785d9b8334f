"""A real TorchServe with settings of models.toml, a model whose name contains dashes, and an archive that this project
did not build."""

import re
import shutil
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from serving.client import Client
from serving.config import Config
from serving.state import RunDirectory
from tests.conftest import run, write_config
from tests.serving.plain_archives import foreign, renamed

pytestmark = pytest.mark.served

SETTINGS = """
[null]
workers = 2
threads = 1
response_timeout_s = 33
startup_timeout_s = 44
queue = 7

[reviews-bert]
batch_size = 4
batch_delay_ms = 300

[other-net]
workers = 1
batch_size = 2

[chosen-net]
variant = "int8"

[chosen-net.variants.int8]
queue = 9

[chosen-net.chosen]
machine = "Abacus, 13 cores, no GPU"
"""
OTHER, OURS, UNCHANGED = "other-net", "reviews-bert-eager", "no-settings-eager"


@dataclass(frozen=True)
class Place:
    """A running server, the output of ``make serve``, and the variables that lead the verbs to it."""

    environment: dict[str, str]
    client: Client
    printed: str
    models: Path
    run: Path


@pytest.fixture(scope="module")
def place(null_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    store, models = folder / "store", folder / "models.toml"
    store.mkdir()
    for path in null_store.glob("null.mar*"):
        shutil.copy(path, store)
    renamed(store, "null", OURS, "reviews-bert")
    renamed(store, "null", UNCHANGED, "no-settings")
    for variant in ("eager", "int8"):
        renamed(store, "null", f"chosen-net-{variant}", "chosen-net", variant=variant, task="embedding")
    foreign(store, OTHER, folder)
    models.write_text(SETTINGS)
    config = write_config(folder / "config.properties")
    environment = {"CONFIG": str(config), "RUN_DIR": str(folder / "run"), "MODEL_STORE": str(store), "MODELS": "",
                   "VARIANTS": "", "MODELS_FILE": str(models)}  # fmt: skip
    started = run("serving", "serve", **environment)
    assert started.returncode == 0, started.stdout + started.stderr
    client = Client(Config.load(config), RunDirectory(folder / "run").key_file)
    try:
        yield Place(environment, client, started.stdout, models, folder / "run")
    finally:
        stopped = run("serving", "stop", **environment)
    assert stopped.returncode == 0 and not (folder / "run" / "models").exists()


def test_torchserve_has_the_settings_without_a_new_build(place):
    null, other = place.client.registration("null"), place.client.registration(OTHER)
    expected = {"minWorkers": 2, "maxWorkers": 2, "batchSize": 1, "responseTimeout": 33, "startupTimeout": 44}
    assert {key: null[key] for key in expected} == expected
    assert len(null["workers"]) == 2 and null["jobQueueStatus"]["remainingCapacity"] == 7
    assert (len(other["workers"]), other["batchSize"]) == (1, 2)


def test_the_handler_has_its_threads(place):
    assert place.client.describe("null")["customizedMetadata"]["threads"] == 1


def test_make_serve_says_which_settings_it_applied(place):
    said = "null: workers 2, threads 1, response timeout 33 s, startup timeout 44 s, queue 7 (models.toml)"
    assert said in place.printed
    assert f"{OURS}: batch size 4, batch delay 300 ms (models.toml)" in place.printed


def test_of_a_model_with_a_choice_only_the_chosen_archive_is_served(place):
    assert place.client.predict("chosen-net-int8", b"x", "text/plain").json() == {"predictions": []}
    assert place.client.registration("chosen-net-int8")["jobQueueStatus"]["remainingCapacity"] == 9
    assert place.client.predict("chosen-net-eager", b"x", "text/plain").status_code == 404
    assert "chosen-net: only int8 is served (models.toml); VARIANTS= serves others" in place.printed
    assert "chosen-net was chosen on another kind of machine (Abacus, 13 cores, no GPU; this is" in place.printed


@pytest.mark.alone
def test_a_lone_request_waits_the_delay_and_a_full_batch_does_not(place):
    def ask(_):
        began = time.monotonic()
        reply = place.client.predict(OURS, b"x", "text/plain")
        return time.monotonic() - began, reply.headers["x-batch-size"]

    lone, size = ask(0)
    assert size == "1" and 0.3 <= lone < 0.6
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(ask, range(4)))
    assert {size for _, size in together} == {"4"} and max(seconds for seconds, _ in together) < 0.3


def test_an_archive_of_others_answers_beside_ours_and_is_said_to_be_unchecked(place):
    reply = place.client.predict(OTHER, b"[1.5, 2]", "application/json")
    assert (reply.status_code, reply.json()) == (200, [3.0, 4.0])
    assert f"{OTHER}.mar was not built by this project: served unchecked" in place.printed
    assert re.search(rf"# {OTHER} \(not built here\)", place.printed)
    assert not re.search(rf"curl.*{OTHER}", place.printed)


def test_status_marks_what_was_not_built_here(place):
    shown = run("serving", "status", **place.environment)
    assert shown.returncode == 0, shown.stdout
    assert f"{OTHER}: version 1.0, 1/1 workers ready (not built here)" in shown.stdout
    assert "null: version 1.0, 2/2 workers ready\n" in shown.stdout


def test_only_our_example_is_sent_to_warm_up(place):
    """The other handler fails on a text, and its worker's log would say so."""
    log = (place.run / "logs" / "model_log.log").read_text()
    assert f"-{OTHER}_1.0-stdout" in log
    assert not [line for line in log.splitlines() if f"-{OTHER}_" in line and "JSONDecodeError" in line]


def test_threads_of_an_archive_of_others_are_not_changed(place):
    before, text = {each["pid"] for each in place.client.workers(OTHER)}, place.models.read_text()
    refused = run("rollout", "scale", **place.environment, MODEL=OTHER, THREADS="2")
    said = f"THREADS=2: {OTHER}.mar was not built by this project, and its handler sets its own threads; leave THREADS"
    assert (refused.returncode, refused.stderr) == (1, f"{said} out.\n")
    assert {each["pid"] for each in place.client.workers(OTHER)} == before and place.models.read_text() == text


def test_changed_settings_of_a_running_server_are_noticed(place):
    same = run("serving", "serve", **place.environment)
    assert same.returncode == 0 and "already runs" in same.stdout
    place.models.write_text(SETTINGS.replace("queue = 7", "queue = 8"))
    try:
        other = run("serving", "serve", **place.environment)
    finally:
        place.models.write_text(SETTINGS)
    assert other.returncode == 1
    assert "other settings of null than are wanted now; run: make stop serve" in other.stderr


def test_an_archive_without_settings_is_served_from_a_link_to_the_store(place):
    link = RunDirectory(place.run).models / f"{UNCHANGED}.mar"
    assert link.readlink() == Path(place.environment["MODEL_STORE"]) / link.name
    assert place.client.predict(UNCHANGED, b"x", "text/plain").json() == {"predictions": []}


def elsewhere(store, folder):
    """The variables that lead the verbs to a server of ``store`` with its own ports and without settings."""
    config = write_config(folder / "config.properties")
    return {"CONFIG": str(config), "RUN_DIR": str(folder / "run"), "MODEL_STORE": str(store), "MODELS": "",
            "VARIANTS": "", "MODELS_FILE": str(folder / "none.toml")}  # fmt: skip


def test_an_archive_of_others_that_cannot_load_is_named_with_its_cause(place, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    archive = f"{OTHER}.mar"
    with zipfile.ZipFile(Path(place.environment["MODEL_STORE"], archive)) as old:
        with zipfile.ZipFile(store / archive, "w") as new:
            for name in old.namelist():
                data = old.read(name)
                new.writestr(name, b"import no_such_library\n" + data if name.endswith(".py") else data)
    failed = run("serving", "serve", **elsewhere(store, tmp_path))
    assert failed.returncode == 1
    assert f"A worker of {OTHER} could not load: " in failed.stderr and "no_such_library" in failed.stderr
    assert "Traceback" not in failed.stderr
