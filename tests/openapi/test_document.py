"""The OpenAPI document: it is valid, the published one is up to date, and its description of each task agrees with the
task's handler. test_conformance.py asks a real server."""

import json
import math
from copy import deepcopy

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from export.tasks import TASKS
from openapi import __main__ as writing
from openapi.answers import RECORDS
from openapi.bodies import digits
from openapi.document import document
from openapi.models import Model, of_archive, of_each_task
from tests.conftest import run
from tests.handlers.test_service import Context
from tests.handlers.test_tensor_tasks import LABELS, MODELS, Open, folder, picture, service_of  # noqa: F401

TEXTS = {"Ada went to London.": "x", "x": "Ada went to London."}
PICTURES = [picture(seed) for seed in range(2)]
# task -> two items as JSON has them
ITEMS = {
    "embedding": list(TEXTS),
    "fill-mask": ["Paris is the [MASK] of France.", "[MASK] and [MASK]"],
    "text-classification": list(TEXTS),
    "rerank": [{"query": "Who?", "texts": list(TEXTS)}, {"query": "x", "texts": ["y"]}],
    "token-classification": list(TEXTS),
    "question-answering": [
        {"question": "Who went?", "context": "Ada went to London."},
        {"question": "x", "context": "y"},
    ],
    "image-classification": PICTURES,
    "image-embedding": PICTURES,
}
OPTIONS = {"top_k": 2, "aggregation_strategy": "first", "max_answer_tokens": 3}
WRONG_ITEMS = (7, None, [], {}, "", " ", ["a", 7])


def test_the_published_document_is_that_of_the_tasks():
    assert writing.PUBLISHED.read_text() == writing.text(writing.published()), "run: python -m openapi --published"


def test_the_document_is_valid_and_has_every_task():
    found = writing.published()
    validate(found)
    assert {tag["description"] for tag in found["tags"]} >= {f"Task: {name}." for name in TASKS}
    names = [each["operationId"] for path in found["paths"].values() for each in path.values()]
    assert len(names) == len(set(names)) > 6 * len(TASKS)


def test_a_task_of_records_has_a_form_for_them():
    records = {each.task for each in of_each_task() if len(each.service.answer_specs) > 1}
    assert records == set(RECORDS)


@pytest.mark.parametrize("most", [1, 9, 10, 20, 100, 512, 999, 1000])
def test_the_pattern_of_a_number_is_exact(most):
    schema = Draft202012Validator({"pattern": f"^(?:{digits(1, most)})$"})
    assert [number for number in range(1200) if schema.is_valid(str(number))] == list(range(1, most + 1))


class Described:
    """A task's handler, whose network is a table, and the schemas that the document has for it."""

    def __init__(self, task, where):
        self.service = service_of(task, where)
        settings = self.service.settings
        mask = settings.text.mask_token if settings.text and task == "fill-mask" else ""
        self.model = Model("m-v", task, 8, 1_000, mask, tuple(LABELS), settings=settings)
        self.document = document([self.model])
        validate(self.document)

    def schema(self, kind):
        whole = {
            **deepcopy(self.document["components"]["schemas"][f"m-v.{kind}"]),
            "components": self.document["components"],
        }
        return Draft202012Validator(whole)

    def ask(self, body, context):
        (reply,) = self.service.handle([{"body": json.dumps(body).encode()}], context)
        return context.status[0], json.loads(reply)

    def agrees(self, body, context, request, answer, wanted):
        """If ``wanted``, the request is valid and its answer fits the schema; else it is refused."""
        status, reply = self.ask(body, context)
        assert self.schema(request).is_valid(body) is wanted, body
        assert (status == 200) is wanted, (body, reply)
        if wanted:
            self.schema(answer).validate(reply)


@pytest.fixture(params=ITEMS)
def described(request, folder):  # noqa: F811
    return Described(request.param, folder)


def bodies(described):
    """(a body, whether only KServe's URL is described to take it)"""
    items, key = ITEMS[described.model.task], described.service.shape.key
    yield {"instances": items}
    yield {"instances": items[:1]}
    if key:
        yield from ({key: items[0]}, {key: items}, {"instances": [{key: each} for each in items]})
    else:
        yield from items
    if described.model.task == "text-classification":
        pairs = [{"text": first, "text_pair": second} for first, second in TEXTS.items()]
        yield from (pairs[0], {"instances": pairs}, {"text": pairs})


def test_valid_bodies_are_answered_as_described(described):
    options = {name: OPTIONS[name] for name in described.service.options}
    asked = list(bodies(described))
    assert len(asked) >= 4
    for body in asked:
        for more in ({}, {"parameters": options}, {"parameters": {n: str(v) for n, v in options.items()}}):
            described.agrees({**body, **more}, Context(1), "request", "answer", True)
            if "instances" in body:
                described.agrees({**body, **more}, Context(1), "v1-request", "v1-answer", True)


def test_invalid_bodies_are_described_as_such_and_refused(described):
    items, key, options = ITEMS[described.model.task], described.service.shape.key, described.service.options
    good = {key: items[0]} if key else items[0]
    wrong = [{"instances": value} for value in (7, [], {}, [7], [None], [[]], ["", *items], items * 5)]
    wrong += [{**good, "parameters": value} for value in (7, [], {"no_such_option": 1}, None)]
    wrong += [{**good, "parameters": {name: value}} for name in options for value in (0, -1, None, [], "x", 10**6)]
    wrong += [{**good, name: 1} for name in options]
    for name in good:
        blank = described.model.kind == "image"  # the schema does not check base64
        wrong += [{**good, name: value} for value in WRONG_ITEMS if not (blank and value == " ")]
        wrong.append({other: value for other, value in good.items() if other != name})
    for body in wrong:
        described.agrees(body, Context(1), "request", "answer", False)


def test_tensors_of_texts_and_images_are_described(described):
    items, shape = ITEMS[described.model.task], described.service.shape
    if described.model.task == "rerank":
        columns = {"query": ["Who?"], "texts": list(TEXTS)}
    else:
        columns = {shape.key: items} if shape.key else {name: [each[name] for each in items] for name in shape.fields}
    inputs = [{"name": n, "shape": [len(v)], "datatype": "BYTES", "data": v} for n, v in columns.items()]
    described.agrees({"inputs": inputs, "id": "a"}, Open(1), "v2-request", "v2-answer", True)
    for wrong in ([], inputs[:-1], [*inputs, inputs[0]], [{**inputs[0], "datatype": "FP32"}, *inputs[1:]]):
        described.agrees({"inputs": wrong}, Open(1), "v2-request", "v2-answer", False)
    status, metadata = described.ask({}, Open(1, "metadata"))
    assert status == 200
    described.schema("v2-metadata").validate(metadata)


def test_the_models_own_inputs_are_described(described):
    image = described.model.kind == "image"
    sizes = {"pixels": [1, 6, 6, 3], "mask_position": [1]}
    inputs = [
        {"name": spec.name, "shape": (shape := sizes.get(spec.name, [1, 3])), "datatype": "UINT8" if image else "INT64",
         "data": [int(spec.name in ("attention_mask", "mask_position"))] * math.prod(shape)}
        for spec in MODELS[described.model.task][0]
    ]  # fmt: skip
    described.agrees({"inputs": inputs}, Open(1), "v2-request", "v2-answer", True)
    described.agrees({"inputs": inputs, "parameters": {"top_k": 1}}, Open(1), "v2-request", "v2-answer", False)


def test_an_archive_is_described_with_its_limits_and_labels(store):
    digits_model, minilm = (of_archive(store / f"{name}-torchscript.mar") for name in ("digits", "minilm"))
    assert digits_model.labels == tuple("0123456789") and minilm.max_chars == 100_000
    found = document([digits_model, minilm])
    validate(found)
    answer = found["components"]["schemas"]["minilm-torchscript.v1-answer"]["properties"]["predictions"]["items"]
    assert answer["minItems"] == answer["maxItems"] == 384


def test_variants_of_one_model_share_their_schemas(store):
    both = [of_archive(store / f"digits-{variant}.mar") for variant in ("eager", "torchscript")]
    found = document(both)
    assert [name for name in found["components"]["schemas"] if name.startswith("digits-torchscript.")] == [
        f"digits-torchscript.{kind}"
        for kind in ("v2-answer", "v2-metadata")  # they contain its name
    ]
    assert "/predictions/digits-torchscript" in found["paths"]


def test_the_verb_writes_the_store_and_no_other_file(store, tmp_path):
    target = tmp_path / "openapi.json"
    environment = {"MODEL_STORE": str(store), "MODELS": "null digits", "VARIANTS": "torchscript", "OUT": str(target)}
    done = run("openapi", **environment)
    assert done.returncode == 0 and str(target) in done.stdout, done.stderr
    validate(json.loads(target.read_text()))
    assert "/predictions/digits-torchscript" in target.read_text()
    assert run("openapi", **environment).returncode == 0  # over its own
    target.write_text("{}")
    refused = run("openapi", **environment)
    assert refused.returncode == 1 and "name another file" in refused.stderr and target.read_text() == "{}"
    empty = run("openapi", **{**environment, "MODEL_STORE": str(tmp_path / "none"), "MODELS": ""})
    assert empty.returncode == 1 and "run: make archive" in empty.stderr


def test_an_own_handler_leaves_answer_and_options_open():
    found = document([Model("m-v", "embedding", max_chars=9, own_handler=True)])
    body = found["components"]["schemas"]["m-v.request"]["anyOf"][0]
    assert body["properties"]["parameters"]["additionalProperties"] is True
    answer = Draft202012Validator(found["components"]["schemas"]["m-v.answer"])
    assert answer.is_valid({"embedding": {"anything": 1}})
