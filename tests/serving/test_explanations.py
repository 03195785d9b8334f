"""A real TorchServe with archives that explain beside archives that only predict."""

import base64
import gzip
import io
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import numpy as np
import pytest
import requests
from PIL import Image

from export.build import build
from export.catalog import PHOTO, TEXT, Model, Row, Source, variant
from export.weights import Choice
from handlers.explanations import no_explanations_message
from tests.conftest import NULL
from tests.export.image_checkpoints import timm_file
from tests.forked import forking
from tests.metrics import value
from tests.token_checkpoints import write_random
from tests.trust.place import place

pytestmark = pytest.mark.served
LABELS = {"id2label": {0: "good", 1: "bad"}, "label2id": {"good": 0, "bad": 1}}
# Requests of a batch wait for each other, so that explanations and predictions meet in one.
MIXED = "[reviews.variants.explain]\nbatch_size = 8\nbatch_delay_ms = 400\n"
PLAIN = "reviews-torchscript"  # its worker starts in half the time of an eager one
TEXTS = ["Ada went to London.", "x", "She is in Paris, with Bob and with Eve."]


@pytest.fixture(scope="module")
def served(null_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explaining")
    write_random(folder / "reviews", "bert", "SequenceClassification", **LABELS)
    image = timm_file(folder)
    options = {"architecture": image.architecture, "labels": str(image.labels)}
    models = (
        Model("reviews", "text-classification", Source("local", str(folder / "reviews")), input=TEXT),
        Model("flowers", "image-classification", Source("local", str(image.source)), options, input=PHOTO),
    )
    (folder / "models.toml").write_text(MIXED)
    with place(folder / "place", NULL, ["null"]) as made:
        made.environment["MODELS_FILE"] = str(folder / "models.toml")
        with mock.patch.dict(os.environ, made.environment), forking():
            for model, name in ((models[0], "torchscript"), (models[0], "explain"), (models[1], "explain")):
                build(Row(model, variant(name)[0]), "cpu", Choice(), made.store, lambda stage: None)
        made.serve()
        yield made


def ask(served, path, body=None, method="POST", **headers):
    """The server's answer. JSON bodies are objects, others bytes."""
    access = {"Authorization": f"Bearer {served.client.token()}"}
    kind = {"Content-Type": "application/json"} if isinstance(body, dict) else {}
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    url = served.config.inference + path
    return requests.request(method, url, headers={**access, **kind, **headers}, data=data, timeout=120)


def picture():
    pixels = np.random.default_rng(5).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_the_explained_prediction_is_that_of_the_archive_that_predicts(served):
    reply = ask(served, "/explanations/reviews-explain", {"text": TEXTS[0]})
    assert reply.status_code == 200 and reply.headers["x-variant"] == "explain"
    found = reply.json()["explanation"]
    (best, *_) = ask(served, f"/predictions/{PLAIN}", {"text": TEXTS[0]}).json()["predictions"]
    assert found["prediction"]["label"] == best["label"]
    assert found["prediction"]["score"] == pytest.approx(best["score"], abs=1e-5)
    total = sum(token["attribution"] for token in found["tokens"])
    assert total == pytest.approx(found["value"] - found["baseline_value"], abs=1e-3)
    assert found["completeness_error"]["relative"] < 1e-3


def test_explanations_and_predictions_in_one_batch_are_those_alone(served):
    alone = [ask(served, "/explanations/reviews-explain", {"text": text}).json() for text in TEXTS]
    predicted = [ask(served, "/predictions/reviews-explain", {"text": text}).json() for text in TEXTS]
    paths = [f"/{kind}/reviews-explain" for kind in ("explanations", "predictions") for _ in TEXTS]
    with ThreadPoolExecutor(len(paths)) as pool:
        replies = list(pool.map(lambda path, text: ask(served, path, {"text": text}), paths, TEXTS * 2))
    assert [reply.status_code for reply in replies] == [200] * 6
    assert [reply.json() for reply in replies[:3]] == alone
    for reply, expected in zip(replies[3:], predicted, strict=True):
        assert reply.json()["predictions"][0] == pytest.approx(expected["predictions"][0], abs=1e-5)
    of = {"model": "reviews", "variant": "explain"}
    mixed, batches = (value(served.config, f"tsi_batch_size_{name}", **of) for name in ("sum", "count"))
    assert mixed > batches, "no batch had several requests"


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize(
    "path", [f"/explanations/{PLAIN}", f"/explanations/{PLAIN}/1.0", f"/v1/models/{PLAIN}:explain"]
)
def test_other_archives_say_which_one_to_ask_and_how_to_build_it(served, method, path):
    reply = ask(served, path, {"text": "x"} if method == "POST" else None, method)
    assert reply.status_code == 400 and reply.json()["message"] == no_explanations_message("reviews", PLAIN)


def test_an_archive_without_a_model_says_so(served):
    assert ask(served, "/explanations/null", b"x").json()["message"] == no_explanations_message("null", "null")
    said = ask(served, f"/v2/models/{PLAIN}/explain", {"inputs": []})
    assert (said.status_code, said.json()) == (400, {"error": no_explanations_message("reviews", PLAIN)})


def test_explanations_have_the_checks_of_predictions(served):
    url = f"{served.config.inference}/explanations/reviews-explain"
    assert requests.post(url, json={"text": "x"}, timeout=60).status_code == 401
    assert requests.post(url.replace("reviews-explain", PLAIN), data=b"x", timeout=60).status_code == 401
    refused = ask(served, "/explanations/reviews-explain", method="GET")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "POST, PUT, OPTIONS")
    assert ask(served, "/explanations/nobody", {"text": "x"}).status_code == 404
    assert ask(served, "/explanations/reviews-explain", b"").status_code == 400
    long = ask(served, "/explanations/reviews-explain", {"text": "x" * 100_001})
    assert long.status_code == 413 and "characters" in long.json()["message"]
    packed = ask(served, "/explanations/reviews-explain", gzip.compress(TEXTS[0].encode()),
                 **{"Content-Encoding": "gzip", "Content-Type": "text/plain"})  # fmt: skip
    assert packed.json() == ask(served, "/explanations/reviews-explain", {"text": TEXTS[0]}).json()


def test_a_client_cannot_ask_for_an_explanation_with_a_header(served):
    for name in ("explain", "Explain"):
        reply = ask(served, "/predictions/reviews-explain", {"text": TEXTS[0]}, **{name: "True"})
        assert reply.json().keys() == {"predictions"}
        assert ask(served, f"/predictions/{PLAIN}", {"text": "x"}, **{name: "True"}).status_code == 200
    assert ask(served, "/explanations/reviews-explain", {"text": "x"}, explain="False").json().keys() == {"explanation"}


def test_kserves_url_answers_instances(served):
    reply = ask(served, "/v1/models/reviews-explain:explain", {"instances": TEXTS})
    assert [each["tokens"][-1]["end"] for each in reply.json()["explanations"]] == list(map(len, TEXTS))


def test_an_image_is_explained_as_numbers_and_as_a_picture(served):
    file = picture()
    found = ask(served, "/explanations/flowers-explain", file, "PUT").json()["explanation"]
    assert np.shape(found["attributions"]) == tuple(found["shape"])
    assert found["frame"].keys() == {"left", "top", "right", "bottom"}
    drawn = ask(served, "/explanations/flowers-explain", file, "PUT", Accept="image/png")
    assert drawn.headers["Content-Type"] == "image/png" and Image.open(io.BytesIO(drawn.content)).format == "PNG"
    assert json.loads(drawn.headers["x-explanation"])["prediction"] == found["prediction"]
    form = requests.post(
        f"{served.config.inference}/explanations/flowers-explain", files={"image": file}, timeout=60,
        data={"target": "eel", "steps": "5"}, headers={"Authorization": f"Bearer {served.client.token()}"},
    )  # fmt: skip
    assert form.json()["explanation"]["prediction"]["label"] == "eel" and form.json()["explanation"]["steps"] == 5
    many = ask(served, "/explanations/flowers-explain", {"image": [base64.b64encode(file).decode()] * 9})
    assert many.status_code == 413 and "at most 8" in many.json()["message"]


def test_predictions_do_not_wait_for_explanations(served):
    """The archive that predicts has its own worker."""
    body = {"text": ["x " * 60] * 4, "parameters": {"steps": 100}}
    with ThreadPoolExecutor() as pool:
        explained = pool.submit(ask, served, "/explanations/reviews-explain", body)
        time.sleep(0.3)
        answered = 0
        while not explained.done():
            assert ask(served, f"/predictions/{PLAIN}", {"text": "x"}).status_code == 200
            answered += 1
        assert explained.result().status_code == 200 and answered > 1
