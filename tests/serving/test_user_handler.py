"""A real TorchServe with the handlers of docs/your-handler.md, and one that fails on some texts."""

import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import numpy as np
import pytest
import requests
from PIL import Image

from export import build as building
from export.catalog import Row, rows, variant
from export.own_handler import check, digest
from export.own_models import adopt, own_models, record
from export.weights import Choice
from tests.conftest import run
from tests.export.image_checkpoints import timm_file
from tests.forked import forking
from tests.page_handlers import WIDTH, write_embedder, write_handler
from tests.trust.place import eventually, place

pytestmark = pytest.mark.served

SECRET = "what the user wrote"
FAULTY = """
from handlers.options import OneOf
from handlers.tasks.embedding import Embedding


class Faulty(Embedding):
    options = {"fail": OneOf(("before", "after", "never"), default="never")}

    def preprocess(self, item, options):
        if options["fail"] == "before":
            raise ValueError(f"cannot read {item}")
        return item

    def postprocess(self, answer, options):
        if options["fail"] == "after":
            raise ArithmeticError(f"cannot answer {answer}")
        return {"first": answer[:2], "text": "vector"}
"""
SETTINGS = "batch_delay_ms = 300\nbatch_size = 4"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The place of a server with "short" and "flowers", which have the page's handlers, and "faulty"."""
    folder = tmp_path_factory.mktemp("own-handlers")
    models = folder / "models.toml"
    embedder, image = write_embedder(folder / "embedder"), timm_file(folder)
    (folder / "faulty.py").write_text(FAULTY)
    text = {"MODEL": str(embedder), "POOLING": "mean"}
    classes = {"MODEL": str(image.source), "ARCH": image.architecture, "LABELS": str(image.labels)}
    with place(folder / "place", folder, []) as made:
        made.environment |= {"MODELS_FILE": str(models)}
        with mock.patch.dict(os.environ, made.environment), forking():
            for name, handler, given in (
                ("short", write_handler(folder, "short_vectors.py"), text),
                ("flowers", write_handler(folder, "or_none.py"), classes),
                ("faulty", folder / "faulty.py", text),
            ):
                adopted(made.store, **given, NAME=name, HANDLER=str(handler))
            build(rows(["null"], [], "cpu")[0], made.store)  # the load test measures it beside each model
        models.write_text(models.read_text().replace("[faulty]", f"[faulty]\n{SETTINGS}"))
        # Workers of TorchScript start in half the time of eager ones, which import transformers and timm.
        made.serve(VARIANTS="torchscript")
        yield made


def adopted(store, **given):
    """Does the same as ``make archive MODEL=`` with these variables, in this process."""
    model, row = adopt(given)
    check(model)
    build(Row(model, variant("torchscript")[0]), store)
    record(model.name, row)


def build(row, store):
    building.build(row, "cpu", Choice(), store, lambda stage: None)


def ask(served, name, **value):
    reply = served.client.predict(name, json.dumps(value).encode(), "application/json")
    return reply.status_code, reply.json()


def test_vectors_are_cut_to_the_asked_length_and_of_unit_length(served):
    status, answer = ask(served, "short-torchscript", text="one")
    assert status == 200 and len(answer["embedding"]) == 128 < WIDTH
    status, answer = ask(served, "short-torchscript", text=["one", "two"], parameters={"dimensions": 16})
    lengths = np.linalg.norm(answer["embeddings"], axis=1)
    assert np.shape(answer["embeddings"]) == (2, 16) and np.allclose(lengths, 1, atol=1e-5)


def test_the_prefix_is_put_before_each_text(served):
    query, passage, default = (
        ask(served, "short-torchscript", text="one", parameters=given)[1]["embedding"]
        for given in ({"kind": "query"}, {"kind": "passage"}, {})
    )
    assert query == pytest.approx(default, abs=1e-6)
    assert not np.allclose(query, passage, atol=1e-3)


def test_an_option_of_the_handler_is_checked_like_the_tasks_own(served):
    status, answer = ask(served, "short-torchscript", text="one", parameters={"kind": "sonnet"})
    assert status == 400 and '"kind" must be one of query, passage' in answer["message"]


def test_an_image_without_a_sure_label_is_none(served):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(file, "PNG")
    reply = requests.post(
        f"{served.config.inference}/predictions/flowers-torchscript", timeout=60, data={"threshold": "1", "top_k": "2"},
        files={"image": file.getvalue()}, headers={"Authorization": f"Bearer {served.client.token()}"},
    )  # fmt: skip
    (none,) = reply.json()["predictions"]
    assert none["label"] == "none" and 0 < none["score"] < 1
    sure = served.client.predict("flowers-torchscript", file.getvalue(), "image/png").json()["predictions"]
    assert [each["label"] for each in sure] == ["none"] or all(each["score"] >= 0.5 for each in sure)


def test_an_error_in_a_hook_fails_one_request_of_a_batch_and_is_logged_once_without_the_text(served):
    bodies = [json.dumps({"text": SECRET, "parameters": {"fail": fail}}).encode()
              for fail in ("never", "before", "after", "never")]  # fmt: skip
    client = served.client
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda body: client.predict("faulty-torchscript", body, "application/json"), bodies))
    assert [reply.status_code for reply in replies] == [200, 500, 500, 200]
    assert {replies[at].headers["x-batch-size"] for at in (0, 2, 3)} == {"3"}  # one was not read
    assert len(replies[0].json()["embedding"]["first"]) == 2
    assert not any(SECRET in reply.text for reply in replies)
    places = {"ValueError": "line 11, in preprocess", "ArithmeticError": "line 16, in postprocess"}
    file = served.directory.logs / "model_log.log"
    # TorchServe writes a worker's lines one by one, and only after the answer.
    eventually(lambda: all(f'user_handler.py", {line}' in file.read_text() for line in places.values()))
    log = file.read_text()
    assert [log.count(f"A request failed with {kind}") for kind in places] == [1, 1]
    assert SECRET not in log


def test_describe_shows_the_file_and_its_digest(served):
    found = served.client.describe("short-torchscript")["customizedMetadata"]
    (short,) = [model for model in own_models(served.store.parent.parent / "models.toml") if model.name == "short"]
    assert found["handler"] == {"file": "short_vectors.py", "sha256": digest(short)}
    assert found["parameters"] == {"kind": "query", "dimensions": 128} and found["parity"]["passed"]


def test_a_load_test_accepts_answers_of_another_form(served, tmp_path):
    measured = run(
        "loadtest",
        **served.environment | {"MODELS": "faulty", "VARIANTS": "torchscript", "RUN_DIR": str(tmp_path / "run")},
        HOST=served.config.inference, TOKEN=served.client.token(), CONCURRENCY="2", DURATION="0.5", ROUNDS="1",
        RESULTS=str(tmp_path / "results"),
    )
    assert measured.returncode == 0, measured.stdout + measured.stderr
    (summary,) = (tmp_path / "results").glob("2*/summary.json")
    (row,) = json.loads(summary.read_text())["rows"]
    assert row["errors"] == 0 and row["answers_checked"] > 0
