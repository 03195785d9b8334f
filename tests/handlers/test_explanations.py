"""Explanations by the archive of the variant ``explain``: their numbers by another computation, and what a request may
ask. The networks are tiny, and their archives are built by the project itself."""

import io
import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator
from PIL import Image

from export.build import build
from export.cases import SAMPLES
from export.catalog import PHOTO, Model, Row, Source, variant
from export.catalog import TEXT as TEXTS
from export.weights import Choice
from handlers.errors import ArchiveError
from handlers.explanations import Path, Target, ask_instead
from handlers.explanations.answers import wants_png
from handlers.explanations.frame import frame
from handlers.explanations.serving import Explaining
from handlers.image import prepare
from handlers.options import Whole
from handlers.runtimes.torch_captum import CaptumRuntime
from openapi.document import document
from openapi.models import of_archive
from tests.export.image_checkpoints import timm_file
from tests.forked import forking
from tests.handlers.explained import EXPLAIN, Asked, explain, explanation, loaded, predict
from tests.tiny import write_bert
from tests.token_checkpoints import write_random, write_reader, write_tagger

TEXT = "Ada went to London — déjà vu, with Bob."
PAIR = {"text": "Ada went to London.", "text_pair": "She is in London now."}
LABELS = {"id2label": {0: "good", 1: "bad", 2: "neither"}, "label2id": {"good": 0, "bad": 1, "neither": 2}}


def classifier(family):
    return "text-classification", lambda to: write_random(to, family, "SequenceClassification", **LABELS)


# name -> (task, what writes its checkpoint)
CHECKPOINTS = {
    **{family: classifier(family) for family in ("bert", "roberta", "distilbert")},
    "embedder": ("embedding", lambda to: write_bert(to, head=False)),
    "filler": ("fill-mask", write_bert),
    "ranker": ("rerank", lambda to: write_random(to, "bert", "SequenceClassification", num_labels=1)),
    "reader": ("question-answering", write_reader),
    "tagger": ("token-classification", write_tagger),
}
# task -> a request, and the same prediction of /predictions as the explanation has it
SINGLE = {
    "bert": ({"text": TEXT}, lambda answer: answer["predictions"][0]),
    "filler": ({"text": "Paris is the [MASK] of France."}, lambda answer: answer["predictions"][0]),
    "ranker": ({"query": "Who?", "texts": ["Ada went.", "x", "to London"]}, lambda answer: answer[0]),
    "reader": ({"question": "Where is Ada?", "context": "Ada is in London. " * 8}, lambda answer: answer),
}


def built(model, folder):
    """The service of the model's archive, which is built in ``folder``."""
    with forking():
        build(Row(model, variant("explain")[0]), "cpu", Choice(), folder, lambda stage: None)
    service = loaded(folder / f"{model.name}-explain.mar", folder / "unpacked")
    service.archive = folder / f"{model.name}-explain.mar"
    return service


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """``get(name)``: the service of an archive, built when it is asked for the first time."""
    found = {}

    def get(name):
        if name not in found:
            folder = tmp_path_factory.mktemp(name)
            task, write = CHECKPOINTS[name]
            options = {"pooling": "mean"} if task == "embedding" else {}
            model = Model(name, task, Source("local", str(write(folder / name))), options, input=TEXTS)
            found[name] = built(model, folder)
            found[name].checkpoint = folder / name
        return found[name]

    return get


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The service of a small image classifier."""
    folder = tmp_path_factory.mktemp("pictures")
    found = timm_file(folder)
    options = {"architecture": found.architecture, "labels": str(found.labels)}
    model = Model("flowers", "image-classification", Source("local", str(found.source)), options, input=PHOTO)
    return built(model, folder)


def picture(seed=0, size=(80, 60)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(file, "PNG")
    return file.getvalue()


def base64_of(data):
    import base64

    return {"image": base64.b64encode(data).decode()}


# The numbers, by another computation.


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("body", [{"text": TEXT}, PAIR], ids=["text", "pair"])
def test_attributions_equal_a_sum_of_gradients_by_transformers_alone(service, family, body):
    """Gradients on the straight line from [PAD]s to the text, in float64, with no code of ours and none of Captum's: a
    plain sum of 400, and one of as many as were asked for at the same places, which has to agree to the last digits."""
    points, weights = np.polynomial.legendre.leggauss(50)
    rules = (
        (300, (np.arange(400) + 0.5) / 400, np.full(400, 1 / 400), 1e-2),
        (50, (points + 1) / 2, weights / 2, 1e-4),
    )
    for steps, places, shares, apart in rules:
        found = explanation(service(family), body, steps=steps)
        folder, texts = service(family).checkpoint, list(body.values())
        attributions, value, baseline = summed(folder, texts, found["prediction"]["label"], places, shares)
        ours = np.array([token["attribution"] for token in found["tokens"]])
        assert ours == pytest.approx(attributions, abs=apart * np.abs(attributions).max())
        assert (found["value"], found["baseline_value"]) == pytest.approx((value, baseline), abs=1e-4)


def summed(folder, texts, label, places, shares):
    """(attributions of the tokens that are not special, the label's logit for the text, for the baseline)"""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForSequenceClassification.from_pretrained(folder).eval().double().requires_grad_(False)
    encoded = tokenizer(*texts, return_tensors="pt", return_special_tokens_mask=True)
    special = encoded.pop("special_tokens_mask")[0].bool()
    ids, column = encoded.pop("input_ids"), network.config.label2id[label]
    embed = network.get_input_embeddings()
    end = embed(ids)
    start = torch.where(special[None, :, None], end, embed(torch.full_like(ids, tokenizer.pad_token_id)))

    def logits(points):
        more = {name: each.expand(len(points), -1) for name, each in encoded.items()}
        return network(inputs_embeds=points, **more).logits[:, column]

    line = (start + torch.tensor(places)[:, None, None] * (end - start)).requires_grad_(True)
    (gradients,) = torch.autograd.grad(logits(line).sum(), line)
    total = (torch.tensor(shares)[:, None, None] * gradients).sum(0, keepdim=True)
    with torch.no_grad():
        value, baseline = logits(torch.cat([end, start])).tolist()
    return ((end - start) * total).sum(-1)[0][~special].numpy(), value, baseline


class Linear(torch.nn.Module):
    """Logits that are linear in the pixels: their attributions are known exactly."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = torch.nn.Linear(4 * 5 * 3, 2)

    def forward(self, pixels):
        return self.network(pixels.flatten(1).float())


@pytest.mark.parametrize("steps", [1, 7])
def test_of_a_linear_model_the_attributions_are_exact(steps):
    module = Linear()
    pixels = np.random.default_rng(1).integers(0, 256, (1, 4, 5, 3), dtype=np.uint8)
    baseline = np.full(pixels.shape, 17, np.float32)
    runtime = CaptumRuntime(module, torch.device("cpu"), ["logits"])
    found = runtime.attributions(Path((pixels,), baseline, steps, 3), Target((("logits", (1,)),)), lambda points: None)
    weights = module.network.weight[1].detach().numpy().reshape(4, 5, 3)
    assert found.values == pytest.approx((weights * (pixels[0] - baseline[0])).sum(-1), abs=1e-3)
    assert found.error < 1e-3 and found.relative_error < 1e-4


def test_the_completeness_error_is_what_is_missing_and_falls_with_steps(service):
    errors = []
    for steps in (1, 5, 50):
        found = explanation(service("bert"), {"text": TEXT}, steps=steps)
        total = sum(token["attribution"] for token in found["tokens"])
        difference = found["value"] - found["baseline_value"]
        error = found["completeness_error"]
        assert error["absolute"] == pytest.approx(abs(total - difference), abs=1e-5)
        assert error["relative"] == pytest.approx(error["absolute"] / abs(difference))
        errors.append(error["relative"])
    assert errors[0] > 0.01 > 1e-3 > errors[2] and errors[0] > errors[1] > errors[2]


def test_of_an_image_the_map_sums_up_to_the_difference(pictures):
    found = explanation(pictures, base64_of(picture()))
    total = np.sum(found["attributions"])
    assert np.shape(found["attributions"]) == tuple(found["shape"]) == (pictures.image.height, pictures.image.width)
    error = found["completeness_error"]
    assert abs(total - (found["value"] - found["baseline_value"])) == pytest.approx(error["absolute"], abs=1e-3)
    assert error["relative"] < 0.05


# What is explained.


@pytest.mark.parametrize("name", SINGLE)
def test_the_explained_prediction_is_that_of_predictions(service, name):
    body, of = SINGLE[name]
    predicted, found = of(predict(service(name), body)), explanation(service(name), body)["prediction"]
    assert found.pop("score") == pytest.approx(predicted.pop("score"), rel=1e-5) and found == predicted


def test_of_an_image_the_explained_prediction_is_that_of_predictions(pictures):
    body = base64_of(picture(3))
    best, *others = predict(pictures, body)["predictions"]
    for expected, options in ((best, {}), (others[1], {"target": others[1]["label"]})):
        found = explanation(pictures, body, steps=2, **options)["prediction"]
        assert found["label"] == expected["label"] and found["score"] == pytest.approx(expected["score"], rel=1e-5)


def test_of_a_text_the_token_of_the_likeliest_entity_is_explained(service):
    found = explanation(service("tagger"), {"text": "Ada went to London."})["prediction"]
    entities = predict(service("tagger"), {"text": "Ada went to London."})["predictions"]
    inside = [each for each in entities if each["start"] <= found["start"] < found["end"] <= each["end"]]
    assert inside and found["label"].endswith(inside[0]["entity_group"])


def test_an_embedding_is_explained_by_its_cosine_with_itself_or_with_another_text(service):
    alone = explanation(service("embedder"), {"text": TEXT})
    assert alone["prediction"] == {"cosine": pytest.approx(1)} and alone["value"] == pytest.approx(1, abs=1e-5)
    texts = (TEXT, "Somewhere else entirely.")
    other = explanation(service("embedder"), {"text": TEXT}, target=texts[1])
    a, b = (np.array(predict(service("embedder"), {"text": each})["embedding"]) for each in texts)
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert other["value"] == pytest.approx(cosine, abs=1e-5) and "target" in other["output"]


def test_a_target_is_explained_in_place_of_the_best(service):
    assert explanation(service("bert"), {"text": TEXT}, target="neither")["prediction"]["label"] == "neither"
    filled = explanation(service("filler"), SINGLE["filler"][0], target="capital")["prediction"]
    assert (filled["token"], filled["sequence"]) == ("capital", "paris is the capital of france.")
    ranked = explanation(service("ranker"), SINGLE["ranker"][0], target=1)
    assert ranked["prediction"]["index"] == 1
    tagged = explanation(service("tagger"), {"text": "no entity here"}, target="B-LOC")
    assert tagged["prediction"]["label"] == "B-LOC"


@pytest.mark.parametrize("name", ["bert", "roberta", "filler", "tagger", "embedder"])
def test_offsets_are_in_characters_of_the_text_as_sent(service, name):
    text = "Où est Zürich? — [MASK] 12 € 🍕 end"
    body, options = {"text": text}, {"target": "B-LOC"} if name == "tagger" else {}
    tokens = explanation(service(name), body, **options)["tokens"]
    assert all(0 <= token["start"] <= token["end"] <= len(text) for token in tokens)
    pieces = [text[token["start"] : token["end"]] for token in tokens]
    assert "12" in "".join(pieces) and pieces[-1].strip() in ("end", "nd", "d")
    for token, piece in zip(tokens, pieces, strict=True):
        plain = token["token"].removeprefix("##").strip()
        special = plain in ("[UNK]", "[MASK]", "<mask>", "")
        assert special or not plain.isascii() or plain.lower()[0] in "ouz" + piece.lower()


def test_tokens_of_two_texts_say_which_one_they_are_of(service):
    tokens = explanation(service("bert"), PAIR)["tokens"]
    assert {token["part"] for token in tokens} == set(PAIR)
    assert all(token["end"] <= len(PAIR[token["part"]]) for token in tokens)
    asked = explanation(service("reader"), SINGLE["reader"][0])
    assert {token["part"] for token in asked["tokens"]} == {"question", "context"}
    answer = asked["prediction"]
    read = [token for token in asked["tokens"] if token["part"] == "context"]
    first, last = min(token["start"] for token in read), max(token["end"] for token in read)
    assert first <= answer["start"] < answer["end"] <= last


def test_baselines_differ_and_special_tokens_are_in_none(service, pictures):
    table = service("bert").runtime.module.network.get_input_embeddings().weight
    before = table[0].clone()
    table[0] += 1  # transformers makes the padding's embedding zero, training does not keep it so
    padded, zero = (explanation(service("bert"), {"text": TEXT}, baseline=each) for each in ("pad", "zero"))
    table[0] = before
    assert padded["value"] == pytest.approx(zero["value"]) and padded["baseline_value"] != zero["baseline_value"]
    assert not {"[CLS]", "[SEP]"} & {token["token"] for token in padded["tokens"]}
    maps = [explanation(pictures, base64_of(picture()), baseline=each, steps=2) for each in ("black", "white", "mean")]
    assert len({each["baseline_value"] for each in maps}) == 3 and len({each["value"] for each in maps}) == 1


# In batches.


def test_an_explanation_is_the_same_alone_and_beside_others_and_predictions(service):
    made, texts = service("bert"), [TEXT, "x", "a longer one " * 9]
    alone = [explanation(made, {"text": text}) for text in texts]
    predicted = [predict(made, {"text": text}) for text in texts]
    context = Asked([EXPLAIN, {}, EXPLAIN, {"explain": "False"}, {}, EXPLAIN])
    bodies = [texts[0], texts[0], texts[1], texts[1], texts[2], texts[2]]
    requests = [{"body": json.dumps({"text": text}).encode()} for text in bodies]
    replies = [json.loads(reply) for reply in made.handle(requests, context)]
    assert context.status == [200] * 6
    assert [replies[at]["explanation"] for at in (0, 2, 5)] == alone
    for at, expected in zip((1, 3, 4), predicted, strict=True):
        scores = [[each["score"] for each in answer["predictions"]] for answer in (replies[at], expected)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_a_list_is_answered_with_a_list_and_a_bad_request_fails_alone(service):
    made = service("bert")
    listed, instances = explain(made, {"text": [TEXT, "x"]}, {"instances": [TEXT]})
    alone = explanation(made, {"text": TEXT})
    assert [each.keys() for each in (listed, instances)] == [{"explanations"}] * 2
    assert listed["explanations"][0] == alone == instances["explanations"][0] and len(listed["explanations"]) == 2
    context = Asked([EXPLAIN] * 3)
    bodies = [{"text": TEXT}, {"text": TEXT, "parameters": {"target": "no such label"}}, {"text": 5}]
    replies = made.handle([{"body": json.dumps(body).encode()} for body in bodies], context)
    assert context.status == [200, 400, 400] and json.loads(replies[0])["explanation"] == alone
    assert json.loads(replies[1])["message"] == '"target" is no label of this model; its labels are good, bad, neither.'


# What is refused.


@pytest.mark.parametrize(
    ("name", "body", "status", "says"),
    [
        ("bert", {"text": TEXT, "parameters": {"steps": 301}}, 400, '"steps" must be a whole number from 1 to 300.'),
        ("bert", {"text": TEXT, "parameters": {"baseline": "black"}}, 400, '"baseline" must be one of pad, zero.'),
        ("bert", {"text": TEXT, "parameters": {"top_k": 1}}, 400, "it knows: steps, baseline, target"),
        ("bert", {"text": TEXT, "steps": 3}, 400, '"steps" is an option; send it as'),
        ("bert", {"text": ["a"] * 9}, 413, "at most 8 are taken"),
        ("bert", {"text": ["a", " "]}, 400, "Text 1 is blank"),
        ("filler", {"text": "[MASK] and [MASK]"}, 400, "The text has 2 masks"),
        ("filler", {"text": "A [MASK].", "parameters": {"target": "no such token"}}, 400, "is no token of this model"),
        ("embedder", {"text": TEXT, "parameters": {"target": "word " * 600}}, 400, "more than the"),
        ("ranker", {**SINGLE["ranker"][0], "parameters": {"target": 3}}, 400, "the last of the 3 texts is 2"),
        ("tagger", {"text": ["Ada went.", "x"]}, 400, "Item 1: The text has no entity to explain; name a label"),
        ("reader", {**SINGLE["reader"][0], "parameters": {"target": "x"}}, 400, "it knows: max_answer_tokens, steps"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_a_sentence(service, name, body, status, says):
    (reply,) = explain(service(name), body, status=status)
    assert says in reply["message"]


def test_other_archives_name_the_one_to_ask():
    sentence = ask_instead("digits", "digits-onnx")
    assert "/explanations/digits-explain" in sentence and "make archive MODELS=digits VARIANTS=explain" in sentence
    assert ask_instead("null", "null") == "null gives no explanations: it has no model."


def test_what_would_take_too_long_is_refused_before_it_runs(service, monkeypatch):
    made = service("bert")
    explaining, ran = made.explaining, []
    monkeypatch.setattr(explaining.budget, "timeout_s", 60)
    monkeypatch.setattr(explaining.budget, "rate", 30 / 2000)  # seconds for a token and a step: 2,000 of them fit
    monkeypatch.setattr(explaining, "_explainer", SimpleNamespace(attributions=lambda *_: ran.append(1)))
    (reply,) = explain(made, {"text": "word " * 50, "parameters": {"steps": 300}}, status=413)
    assert not ran and 'lower "steps"' in reply["message"] and "takes 2000 in one request" in reply["message"]


def test_of_several_what_does_not_fit_in_time_is_busy_and_the_cheapest_runs(service, monkeypatch):
    made = service("bert")
    monkeypatch.setattr(made.explaining.budget, "rate", 30 / 2000)
    context = Asked([EXPLAIN] * 3)
    bodies = [{"text": "x " * 20, "parameters": {"steps": 60}}, {"text": "x", "parameters": {"steps": 5}},
              {"text": "x " * 20, "parameters": {"steps": 60}}]  # fmt: skip
    made.handle([{"body": json.dumps(body).encode()} for body in bodies], context)
    assert sorted(context.status) == [200, 200, 503] and context.status[1] == 200
    assert "Retry-After" in context.out[context.status.index(503)]


def test_an_explanation_stops_when_its_time_is_over(service, monkeypatch):
    """The estimate was too low: no pass begins that would end after the worker's time."""
    made, passes = service("bert"), []
    module = made.runtime.module
    monkeypatch.setattr(made.explaining.budget, "timeout_s", 0.4)
    monkeypatch.setattr(made.explaining.budget, "rate", 1e-9)

    def slow(*_):
        passes.append(1)
        time.sleep(0.05)

    with module.register_forward_pre_hook(slow):
        (reply,) = explain(made, {"text": "word " * 60, "parameters": {"steps": 300}}, status=503)
    assert len(passes) < 12 and "try again" in reply["message"]


def test_a_handlers_option_of_the_same_name_is_an_error_of_the_archive(service, monkeypatch):
    made = service("bert")
    monkeypatch.setattr(made, "all_options", lambda: {"steps": Whole(1, 2)})
    with pytest.raises(ArchiveError, match="'steps'"):
        Explaining(made, made.runtime)


@pytest.mark.parametrize("name", [*SINGLE, "tagger", "pictures"])
def test_bodies_and_answers_are_as_the_openapi_document_says(service, pictures, name):
    made = pictures if name == "pictures" else service(name)
    found = document([of_archive(made.archive)])
    kinds = {kind: found["components"]["schemas"][f"{made.archive.stem}.explanation-{kind}"] for kind in
             ("request", "answer", "v1-request", "v1-answer")}  # fmt: skip
    body = {"tagger": {"text": "Ada went to London."}, "pictures": base64_of(picture())}.get(name)
    body = body or SINGLE[name][0]
    instances = {"instances": [body]}
    for given, kind in ((body, ""), ({**body, "parameters": {"steps": 3}}, ""), (instances, "v1-")):
        assert valid(found, kinds[f"{kind}request"], given)
        assert valid(found, kinds[f"{kind}answer"], explain(made, given)[0])
    for wrong in ({"steps": 0}, {"steps": 301}, {"top_k": 1}, {"baseline": "x"}):
        assert not valid(found, kinds["request"], {**body, "parameters": wrong})
    assert not valid(found, kinds["v1-request"], {"instances": [body] * 9})


def valid(found, schema, value):
    return Draft202012Validator({**schema, "components": found["components"]}).is_valid(value)


# As a picture.


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False), ("*/*", False), ("application/json", False), ("image/png", True), ("image/*", True),
        ("image/png, application/json;q=0.5", True), ("image/png;q=0.4, application/json", False),
        ("text/html,image/avif,image/png;q=0.9,*/*;q=0.8", True), ("image/png;q=x", False), ("text/html", False),
    ],
)  # fmt: skip
def test_a_png_is_written_where_accept_prefers_it(accept, wanted):
    assert wants_png({"aCCept": accept}, True) is wanted


def test_an_image_is_answered_with_a_png_that_says_what_it_shows(pictures):
    context = Asked([{**EXPLAIN, "accept": "image/png"}])
    body = {**base64_of(picture()), "parameters": {"steps": 2}}
    (reply,) = pictures.handle([{"body": json.dumps(body).encode()}], context)
    shown, said = Image.open(io.BytesIO(reply)), json.loads(context.out[0]["x-explanation"])
    assert context.out[0]["content-type"] == "image/png" and shown.format == "PNG"
    found = explanation(pictures, base64_of(picture()), steps=2)
    values = np.array(found.pop("attributions"))
    assert said == found and shown.size[0] % values.shape[1] == 0
    scale = shown.size[0] // values.shape[1]
    colours = np.asarray(shown)[::scale, ::scale].astype(int)
    strongest = np.unravel_index(np.abs(values).argmax(), values.shape)
    red, _, blue = colours[strongest]
    assert (red > blue) == (values[strongest] > 0)


def test_a_picture_of_a_text_or_of_two_images_is_refused(service, pictures):
    (reply,) = explain(service("bert"), {"text": TEXT}, status=406, accept="image/png")
    assert "application/json" in reply["message"]
    images = {"image": [base64_of(picture(seed))["image"] for seed in range(2)]}
    (reply,) = explain(pictures, images, status=400, accept="image/png")
    assert "one image" in reply["message"]


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("coffee.jpg", {"kind": "photo", "resize": 232, "crop": 224}),
        ("flower.jpg", {"kind": "photo", "resize": [200, 260], "crop": None}),
        ("flower.jpg", {"kind": "photo", "resize": 100, "crop": 140}),
        ("seven.png", {"kind": "digit", "size": 64, "margin": 8}),
    ],
)
def test_the_frame_is_the_part_that_the_model_sees(file, settings):
    """The part that the frame names, cut from the image and scaled, looks as what was prepared."""
    image = Image.open(SAMPLES / file).convert("RGB")
    pixels, found = prepare(image, settings), frame(image, settings)
    box = [round(found[side] * size) for side, size in
           zip(("left", "top", "right", "bottom"), (*image.size, *image.size), strict=True)]  # fmt: skip
    cut = np.asarray(image.crop(box).resize(pixels.shape[1::-1]).convert("L"), dtype=float)
    alike = np.corrcoef(cut.ravel(), pixels.mean(-1).ravel())[0, 1]
    assert abs(alike) > 0.8, (alike, found)
