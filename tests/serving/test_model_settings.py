"""models.toml: its serving settings are read, checked, and replace an archive's own."""

import zipfile

import pytest
import yaml

from serving.errors import ServingError
from serving.identity import Identity
from serving.model_folder import prepare
from serving.model_settings import KEYS, ModelSettings
from serving.plan import Plan
from serving.store import archives
from tests.conftest import ROOT, run
from tests.serving.plain_archives import ours

INT8 = Identity("minilm-int8", "minilm", "int8", "embedding", True)
EAGER = Identity("minilm-eager", "minilm", "eager", "embedding", True)


@pytest.fixture
def table(tmp_path):
    def load(text):
        (tmp_path / "models.toml").write_text(text)
        return ModelSettings.load(tmp_path / "models.toml")

    return load


def test_a_variants_table_goes_over_its_models(table):
    read = table("[minilm]\nworkers = 2\nthreads = 1\n[minilm.variants.int8]\nworkers = 3\n")
    assert read.of(INT8) == {"workers": 3, "threads": 1} and read.of(EAGER) == {"workers": 2, "threads": 1}


def test_keys_of_export_are_left_alone(table):
    read = table('[reviews-bert]\nsource = "/data/x"\nvariants = ["eager"]\ntop_k = 3\nqueue = 9\nmax_length = 128\n')
    assert read.models == {"reviews-bert": {"queue": 9}}


def test_without_a_file_there_are_no_settings(tmp_path):
    assert ModelSettings.load(tmp_path / "none.toml").models == {}


MISTAKES = [
    ("[minilm]\nworkers = 0", "[minilm] workers = 0: a whole number from 1 to 256 is expected"),
    ("[minilm]\nworkers = true", "[minilm] workers = True: a whole number from 1 to 256"),
    ('[minilm]\nbatch_size = "8"', "[minilm] batch_size = '8': a whole number from 1 to 1024"),
    ("[minilm]\nthreads = 1.5", "[minilm] threads = 1.5: a whole number from 0 to 1024"),
    ("[minilm]\nbatch_delay_ms = -1", "[minilm] batch_delay_ms = -1: a number from 0 to 60000"),
    ("[minilm]\nbatch_delay_ms = nan", "[minilm] batch_delay_ms = nan: a number from 0"),
    ("[minilm]\nworker = 2", "[minilm] worker: there is no such key; did you mean workers?"),
    ("[minilm]\nminWorkers = 2", "did you mean workers?"),
    ("[minilm]\nmax_batch_delay = 2", "did you mean batch_delay_ms?"),
    ("[minilm]\nresponse_timeout = 2", "did you mean response_timeout_s?"),
    ("[minilm]\njobQueueSize = 2", "did you mean queue?"),
    ("[minilm.variants.int8]\nthread = 2", "[minilm.variants.int8] thread: there is no such key; did"),
    ("[minilm.variants]\nint8 = 2", "[minilm.variants] int8 = 2: a table is expected"),
    ("workers = 2", "workers stands outside a model's table"),
    ("[minilm\nworkers = 2", "is no valid TOML"),
]


@pytest.mark.parametrize(("text", "says"), MISTAKES, ids=[says[:50] for _, says in MISTAKES])
def test_a_mistake_is_one_sentence_that_names_the_file(table, tmp_path, text, says):
    with pytest.raises(ServingError) as refused:
        table(text)
    assert str(refused.value).startswith(str(tmp_path / "models.toml")) and says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_mistake_ends_make_serve_before_anything_starts(tmp_path):
    ours(tmp_path, "minilm-eager", "minilm", "eager")
    (tmp_path / "m.toml").write_text("[minilm]\nworkers = 0\n")
    refused = run("serving", "serve", MODEL_STORE=str(tmp_path), RUN_DIR=str(tmp_path / "run"), MODELS="", VARIANTS="",
                  MODELS_FILE=str(tmp_path / "m.toml"))  # fmt: skip
    assert refused.returncode == 1 and "workers = 0" in refused.stderr and refused.stderr.count("\n") == 1
    assert not (tmp_path / "run" / "server.json").exists()


def test_threads_of_an_archive_of_others_are_refused(table):
    with pytest.raises(ServingError, match=r"\[other\] threads = 1: other\.mar was not built by this project"):
        table("[other]\nthreads = 1\n").of(Identity("other", "other"))


def config_in(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return yaml.safe_load(archive.read("model-config.yaml"))


def test_only_the_archives_with_settings_are_copied_and_the_store_stays(table, tmp_path):
    store, folder = tmp_path / "store", tmp_path / "folder"
    store.mkdir()
    ours(store, "minilm-int8", "minilm", "int8", batchSize=8, deviceType="cpu")
    ours(store, "digits-eager", "digits", "eager")
    before = archives(store)
    plan = Plan.of(store, before, table("[minilm]\nworkers = 2\nthreads = 3\nbatch_delay_ms = 2.5\nqueue = 5\n"))
    assert prepare(folder, store, plan.archives, plan.settings, delay_unit_us=1) == folder
    assert (folder / "digits-eager.mar").readlink() == store / "digits-eager.mar"
    served = config_in(folder / "minilm-int8.mar")
    assert served.pop("archive") == {**config_in(store / "minilm-int8.mar")["archive"], "threads": 3}
    assert served == {"minWorkers": 2, "maxWorkers": 2, "batchSize": 8, "deviceType": "cpu", "jobQueueSize": 5,
                      "maxBatchDelay": 2500}  # fmt: skip
    assert archives(store) == before
    assert plan.notices == ["minilm-int8: workers 2, threads 3, batch delay 2.5 ms, queue 5 (models.toml)"]


@pytest.mark.parametrize(
    ("milliseconds", "unit_us", "written"), [(0, 1, 1), (0.5, 1000, 1), (3, 1000, 3), (3, 1, 3000)]
)
def test_a_delay_is_written_in_the_unit_that_the_front_end_counts_in(tmp_path, table, milliseconds, unit_us, written):
    ours(tmp_path, "minilm-int8", "minilm", "int8")
    plan = Plan.of(tmp_path, archives(tmp_path), table(f"[minilm]\nbatch_delay_ms = {milliseconds}\n"))
    folder = prepare(tmp_path / "folder", tmp_path, plan.archives, plan.settings, unit_us)
    assert config_in(folder / "minilm-int8.mar")["maxBatchDelay"] == written


def test_without_settings_the_archives_of_the_store_are_served(tmp_path):
    ours(tmp_path, "minilm-int8", "minilm", "int8")
    ours(tmp_path, "minilm-eager", "minilm", "eager")
    folder = prepare(tmp_path / "folder", tmp_path, ["minilm-int8"], {}, 1)
    assert [path.readlink() for path in folder.iterdir()] == [tmp_path / "minilm-int8.mar"]


def test_settings_of_a_model_that_the_store_lacks_are_said(table, tmp_path):
    ours(tmp_path, "minilm-int8", "minilm", "int8")
    plan = Plan.of(tmp_path, archives(tmp_path), table("[minilmm]\nworkers = 2\n"))
    assert len(plan.notices) == 1 and "[minilmm] has serving settings" in plan.notices[0]


def test_the_page_for_users_names_every_key_with_its_range():
    page = (ROOT / "docs" / "models-toml.md").read_text()
    for name, key in KEYS.items():
        assert f"| `{name}` | {key.least} to {key.most:,} |" in page, name
