"""All tasks by the Open Inference Protocol: the answers equal those in JSON, the model's own inputs get its own
outputs, and the metadata describes both. The networks are table lookups, since the values do not matter here."""

import base64
import io
import json
from importlib import import_module

import numpy as np
import pytest
from PIL import Image
from transformers import BertTokenizerFast

from export.tasks import TASKS
from export.text_checkpoint import VOCABULARY
from handlers.service import Service
from handlers.settings import ImageInput, Settings, TensorSpec, TextInput
from tests.handlers.test_service import Context

WORDS = VOCABULARY.read_text(encoding="utf-8").splitlines()
LENGTH, WIDTH, LABELS = 16, 8, ["O", "B-PER", "I-PER", "B-LOC"]
TEXTS = ["Ada went to London.", "x", "déjà vu " * 30]
TOKENS = [TensorSpec(name, ("batch", "tokens"), "int64") for name in ("input_ids", "attention_mask")]
TYPES = TensorSpec("token_type_ids", ("batch", "tokens"), "int64")
PLACE = TensorSpec("mask_position", ("batch",), "int64")
PIXELS = TensorSpec("pixels", ("batch", 6, 6, 3), "uint8")
LOGITS = TensorSpec("logits", ("batch", len(LABELS)))
# For each task: the model's inputs and outputs.
MODELS = {
    "embedding": (TOKENS, [TensorSpec("embedding", ("batch", WIDTH))]),
    "fill-mask": ([*TOKENS, PLACE], [TensorSpec("logits", ("batch", len(WORDS)))]),
    "text-classification": ([*TOKENS, TYPES], [LOGITS]),
    "rerank": ([*TOKENS, TYPES], [TensorSpec("logits", ("batch", 1))]),
    "token-classification": (TOKENS, [TensorSpec("logits", ("batch", "tokens", len(LABELS)))]),
    "question-answering": (
        [*TOKENS, TYPES], [TensorSpec(f"{end}_logits", ("batch", "tokens")) for end in ("start", "end")]
    ),
    "image-classification": ([PIXELS], [LOGITS]),
    "image-embedding": ([PIXELS], [TensorSpec("embedding", ("batch", WIDTH))]),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("archive")
    tokenizer = BertTokenizerFast(vocab={word: id for id, word in enumerate(WORDS)}, do_lower_case=True)
    tokenizer.backend_tokenizer.save(str(made / "tokenizer.json"))
    (made / "labels.json").write_text(json.dumps(LABELS))
    return made


def network(outputs):
    """A network whose numbers depend only on the row's content, as those of an exact model."""

    def run(*inputs):
        first, found = np.asarray(inputs[0]).astype(np.int64), {}
        seen = first * inputs[1] if len(inputs) > 1 else first.reshape(len(first), -1)
        for spec in outputs:
            if spec.per_token:
                table = np.sin(seen[..., None] + np.arange(spec.dims[2] if len(spec.dims) > 2 else 1) + len(spec.name))
                found[spec.name] = table.reshape(*seen.shape, *spec.dims[2:]).astype(np.float32)
            else:
                found[spec.name] = np.sin(seen.sum(axis=1)[:, None] + np.arange(spec.dims[1])).astype(np.float32)
        return found

    return run


@pytest.fixture
def made(folder, request):
    """The service of a task."""
    return service_of(request.param, folder)


def service_of(task, folder):
    inputs, outputs = MODELS[task]
    image = ImageInput(6, 6, (0.5,) * 3, (0.5,) * 3, {"kind": "photo", "resize": 6, "crop": 6}, 10_000)
    text = TextInput(LENGTH, 0, len(WORDS), 1_000, 5_000, "[MASK]", WORDS.index("[UNK]"))
    module = import_module(f"handlers.tasks.{TASKS[task].entry}")
    (entry,) = [each for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__
                and isinstance(each, type)]  # fmt: skip
    service: Service = entry()
    service.directory, service.runtime = folder, network(outputs)
    service.settings = Settings(
        "m", "v", task, "cpu", "eager", "w", tuple(inputs), tuple(outputs), max_items=8, head={"scores": "softmax"},
        image=image if task.startswith("image") else None, text=None if task.startswith("image") else text,
        parameters=TASKS[task].parameters,
    )  # fmt: skip
    service.prepare()
    return service


class Open(Context):
    """A batch of requests of the Open Inference Protocol."""

    model_name, manifest = "m-v", {"model": {"modelVersion": "1.0"}}

    def __init__(self, count, wanted="infer"):
        super().__init__(count, {"open-inference": wanted})


def infer(service, inputs, status=200, **more):
    """The parsed answer to one request. ``inputs`` maps names to values; lists of strings are BYTES."""
    tensors = [tensor(name, values) for name, values in inputs.items()]
    return send(service, {"inputs": tensors, **more}, status)


def tensor(name, values):
    if isinstance(values, list):
        return {"name": name, "shape": [len(values)], "datatype": "BYTES", "data": values}
    datatype = "UINT8" if values.dtype == np.uint8 else "INT64"
    return {"name": name, "shape": list(values.shape), "datatype": datatype, "data": values.ravel().tolist()}


def send(service, document, status=200):
    context = Open(1)
    (reply,) = service.handle([{"body": json.dumps(document).encode()}], context)
    assert context.status == [status], reply
    return json.loads(reply)


def arrays(answer):
    return {each["name"]: np.array(each["data"]).reshape(each["shape"]) for each in answer["outputs"]}


def in_json(service, document):
    context = Context(1)
    (reply,) = service.handle([{"body": json.dumps(document).encode()}], context)
    assert context.status == [200], reply
    return json.loads(reply)


def picture(seed):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def of(*tasks):
    return pytest.mark.parametrize("made", tasks, indirect=True)


@of("embedding", "image-embedding")
def test_embeddings(made):
    key = made.shape.key
    items = TEXTS if key == "text" else [picture(seed) for seed in range(3)]
    found = arrays(infer(made, {key: items}))
    assert found["embedding"].shape == (3, WIDTH)
    assert found["embedding"] == pytest.approx(np.array(in_json(made, {key: items})["embeddings"]), abs=1e-6)


@of("text-classification", "image-classification")
def test_classes(made):
    key = made.shape.key
    items = TEXTS if key == "text" else [picture(seed) for seed in range(3)]
    found = arrays(infer(made, {key: items}, parameters={"top_k": 2}))
    expected = in_json(made, {key: items, "parameters": {"top_k": 2}})["predictions"]
    assert found["label"].tolist() == [[each["label"] for each in row] for row in expected]
    assert found["score"] == pytest.approx(np.array([[each["score"] for each in row] for row in expected]))


@of("text-classification")
def test_pairs(made):
    pairs = [{"text": first, "text_pair": second} for first, second in zip(TEXTS, TEXTS[::-1], strict=True)]
    found = arrays(infer(made, {"text": TEXTS, "text_pair": TEXTS[::-1]}))
    expected = in_json(made, {"instances": pairs})["predictions"]
    assert found["label"].tolist() == [[each["label"] for each in row] for row in expected]
    assert "different numbers of items" in infer(made, {"text": TEXTS, "text_pair": ["a"]}, 400)["message"]
    assert '"text" is missing' in infer(made, {"text_pair": ["a"]}, 400)["message"]


@of("fill-mask")
def test_masks_are_rows(made):
    items = ["Paris is the [MASK] of France.", "[MASK] and [MASK]"]
    found = arrays(infer(made, {"text": items}, parameters={"top_k": 3}))
    one, (two, three) = in_json(made, {"text": items, "parameters": {"top_k": 3}})["predictions"]
    assert found["item"].tolist() == [0, 1, 1]
    for name in ("token", "sequence"):
        assert found[name].tolist() == [[each[name] for each in row] for row in (one, two, three)]
    beyond = infer(made, {"text": ["[MASK]", "a " * 40 + "[MASK]"]}, 400)["message"]
    assert beyond.startswith("Item 1: The [MASK] lies beyond")


@of("token-classification")
def test_entities_are_rows(made):
    found = arrays(infer(made, {"text": TEXTS}))
    expected = in_json(made, {"text": TEXTS})["predictions"]
    assert found["item"].tolist() == [index for index, entities in enumerate(expected) for _ in entities]
    for name in ("entity_group", "word", "start", "end"):
        assert found[name].tolist() == [entity[name] for entities in expected for entity in entities]
    assert found["score"] == pytest.approx([entity["score"] for entities in expected for entity in entities])


@of("token-classification")
def test_no_entities_are_tensors_of_no_rows(made):
    made.runtime = lambda ids, mask: {"logits": np.eye(len(LABELS), dtype=np.float32)[np.zeros_like(ids)]}
    answer = infer(made, {"text": ["nobody"]})
    assert [each["shape"] for each in answer["outputs"]] == [[0]] * 6


@of("question-answering")
@pytest.mark.parametrize("count", [1, 3])
def test_answers_are_rows(made, count):
    asked = {"question": ["Who?", "Where?"], "context": ["Ada went to London.", "Tom stays here. " * 9]}
    found = arrays(infer(made, asked, parameters={"top_k": count}))
    items = [{"question": one, "context": two} for one, two in zip(*asked.values(), strict=True)]
    answers = in_json(made, {"instances": items, "parameters": {"top_k": count}})["predictions"]
    answers = [each if isinstance(each, list) else [each] for each in answers]
    assert found["item"].tolist() == [index for index, rows in enumerate(answers) for _ in rows]
    for name in ("answer", "start", "end"):
        assert found[name].tolist() == [row[name] for rows in answers for row in rows]


@of("rerank")
def test_a_ranking(made):
    found = arrays(infer(made, {"query": ["Who?"], "texts": TEXTS}))
    expected = in_json(made, {"query": "Who?", "texts": TEXTS})
    assert found["index"].tolist() == [each["index"] for each in expected]
    assert found["score"] == pytest.approx([each["score"] for each in expected])
    assert "expected [1]" in infer(made, {"query": ["a", "b"], "texts": TEXTS}, 400)["message"]
    assert "query and texts" in infer(made, {"query": ["a"]}, 400)["message"]


TEXT_TASKS = ("embedding", "text-classification", "rerank", "token-classification", "question-answering")


@of(*TEXT_TASKS)
def test_token_ids_are_answered_with_the_models_outputs(made):
    tokens = made.encoder.encode(["Ada went to London.", "x"])
    ids = np.concatenate([tokens.input_ids, np.full((2, 2), 99)], axis=1)  # beyond the mask
    mask = np.pad(tokens.attention_mask, ((0, 0), (0, 2)))
    found = arrays(infer(made, {"input_ids": ids, "attention_mask": mask}))
    expected = made.runtime(tokens.input_ids, tokens.attention_mask, tokens.token_type_ids)
    assert found.keys() == expected.keys()
    for spec in made.settings.outputs:
        values, length = found[spec.name], tokens.input_ids.shape[1]
        if spec.per_token:
            assert values.shape[:2] == ids.shape and not values[:, length:].any() and not values[1, 3:].any()
            assert values[0, :length] == pytest.approx(expected[spec.name][0])
            assert values[1, :3] == pytest.approx(expected[spec.name][1, :3])
        else:
            assert values == pytest.approx(expected[spec.name])


@of("fill-mask")
def test_the_position_of_a_mask_is_found_or_given(made):
    places, run = [], made.runtime
    made.runtime = lambda *inputs: places.append(inputs[2].tolist()) or run(*inputs)
    tokens = made.encoder.encode(["[MASK] is [MASK]", "no [MASK]"])
    inputs = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
    answer = infer(made, inputs, outputs=[{"name": "logits"}])
    infer(made, {**inputs, "mask_position": np.array([3, 2])})
    assert places == [[1, 2], [3, 2]] and answer["outputs"][0]["shape"] == [2, len(WORDS)]
    refused = infer(made, {"input_ids": np.array([[101, 5, 102]])}, 400)
    assert refused["message"].startswith('Row 0 of "input_ids" has no mask token (id 103)')
    refused = infer(made, {**inputs, "mask_position": np.array([1, 4])}, 400)
    assert refused["message"] == 'Row 1 of "mask_position" is not the position of a token.'


@of("image-classification")
def test_pixels_are_answered_with_the_models_outputs(made):
    pixels = np.random.default_rng(1).integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    assert arrays(infer(made, {"pixels": pixels}))["logits"] == pytest.approx(made.runtime(pixels)["logits"])
    assert "expected [-1, 6, 6, 3]" in infer(made, {"pixels": pixels[:, :5]}, 400)["message"]


@of("text-classification")
@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"input_ids": np.array([[1, 30_522]])}, 'Row 0 of "input_ids" has an id that is not from 0 to 30521.'),
        ({"input_ids": np.array([[1, 2], [1, -1]])}, 'Row 1 of "input_ids" has an id'),
        ({"input_ids": np.ones((1, LENGTH + 1), int)}, f"has {LENGTH + 1} tokens in a row; this model takes {LENGTH}."),
        ({"attention_mask": np.array([[0, 1]])}, '"attention_mask" is not ones and then zeros; pad on the right.'),
        ({"attention_mask": np.array([[0, 0]])}, "is not ones and then zeros"),
        ({"attention_mask": np.array([[1, 2]])}, "is not ones and then zeros"),
        ({"attention_mask": np.array([[1]])}, '"attention_mask" has another shape than "input_ids".'),
        ({"token_type_ids": np.array([[0, 2]])}, 'Row 0 of "token_type_ids" has a value that is neither 0 nor 1.'),
        ({"text": ["a"]}, "The inputs are of two kinds"),
    ],
)  # fmt: skip
def test_wrong_token_ids_are_refused(made, changed, says):
    made.runtime = None  # is not reached
    assert says in infer(made, {"input_ids": np.array([[1, 2]]), **changed}, 400)["message"]


@of("text-classification")
def test_token_tensors_need_ids_and_options_need_texts(made):
    assert '"input_ids" is missing' in infer(made, {"attention_mask": np.array([[1]])}, 400)["message"]
    refused = infer(made, {"input_ids": np.array([[1]])}, 400, parameters={"top_k": 1})
    assert "answered without options" in refused["message"]
    assert "it knows: top_k." in infer(made, {"text": ["a"]}, 400, parameters={"timeout": 1})["message"]
    refused = infer(made, {"text": ["a"]}, 400, outputs=[{"name": "logits"}])
    assert refused["message"].endswith("for these inputs are: label, score.")


@of(*MODELS)
def test_metadata_names_all_inputs_and_outputs(made):
    context = Open(1, "metadata")
    said = json.loads(made.handle([{"body": b""}], context)[0])
    assert (said["name"], said["versions"], said["platform"]) == ("m-v", ["1.0"], "eager")
    inputs, outputs = MODELS[made.settings.task]
    names = {each["name"] for each in said["inputs"]}
    assert names == {*filter(None, (made.shape.key, *made.shape.fields)), *(each.name for each in inputs)}
    assert {each["name"] for each in said["outputs"]} >= {each.name for each in outputs}
    assert all(each.keys() == {"name", "datatype", "shape"} for each in (*said["inputs"], *said["outputs"]))


@of("embedding")
def test_tensors_of_all_kinds_share_a_batch_with_json_and_one_bad_request_fails_alone(made):
    tensors = {"inputs": [tensor("text", ["Ada"])]}
    own = {"inputs": [tensor("input_ids", np.array([[101, 102]]))]}
    bad = {"inputs": [tensor("text", ["a", " "])]}
    context = Open(4)
    context.headers[2] = {"body": {"content-type": "application/json"}}
    documents = [tensors, own, {"text": "Ada"}, bad]
    replies = [json.loads(each) for each in made.handle([{"body": json.dumps(d).encode()} for d in documents], context)]
    assert context.status == [200, 200, 200, 400]
    assert arrays(replies[0])["embedding"][0] == pytest.approx(np.array(replies[2]["embedding"]), abs=1e-6)
    assert replies[3]["message"] == "Text 1 is blank; send at least one character."
    assert [row["x-batch-size"] for row in context.out[:3]] == ["2", "1", "2"]


@of("image-classification")
def test_a_file_that_is_no_image_is_named(made):
    refused = infer(made, {"image": [picture(1), base64.b64encode(b"nothing").decode()]}, 400)
    assert refused["message"].startswith("Image 1: The bytes are no image")
    assert infer(made, {"image": [picture(1), ""]}, 400)["message"] == "Image 1 is empty."


def test_a_form_is_no_request_in_tensors(folder):
    service, context = service_of("embedding", folder), Open(1)
    reply = json.loads(service.handle([{"text": b"a"}], context)[0])
    assert context.status == [400] and "The body is no JSON document" in reply["message"]
