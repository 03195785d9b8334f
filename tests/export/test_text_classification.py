"""The archive's text classification equals transformers' pipeline for the same folder."""

import pytest

from export.tasks import TASKS, Request, json_request
from export.text_folder import read_text_folder
from tests import checkpoints

TASK = TASKS["text-classification"]
TEXTS = [
    "The rain will stop tonight.",
    "She cooked soup with onions.",
    "The players won the final match.",
    "Ça coûte 12 € — déjà vu",
    "x",
    "word " * 200,
]
EXPECTED = ["weather", "food", "sport"]
PAIRS = [("It will rain.", "The sky is clear."), ("A short one.", "word " * 100), ("word " * 90, "word " * 100)]


def requests_of(items):
    """A request for each text or pair."""
    return [
        Request(each.encode()) if isinstance(each, str) else json_request({"text": each[0], "text_pair": each[1]})
        for each in items
    ]


def pipeline_of(folder):
    """A function that returns transformers' answer to a text or a pair, with all labels. Texts are truncated at the
    tokenizer's limit."""
    import torch
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(folder), top_k=None, device="cpu", dtype=torch.float32)

    def answer(item):
        value = item if isinstance(item, str) else {"text": item[0], "text_pair": item[1]}
        return classify(value, truncation=True)

    return answer


def assert_equal(ours, theirs, rel=1e-4):
    theirs = theirs[0] if isinstance(theirs[0], list) else theirs
    assert [each["label"] for each in ours] == [each["label"] for each in theirs]
    assert [each["score"] for each in ours] == pytest.approx([each["score"] for each in theirs], rel=rel, abs=1e-6)


@pytest.mark.parametrize("family", checkpoints.FAMILIES)
def test_every_family_classifies_texts_and_pairs_as_transformers_does(ask, tmp_path, family):
    folder = checkpoints.write_checkpoint(tmp_path / "checkpoint", family, "classification", num_labels=4)
    replies = ask("text-classification", folder, requests_of(TEXTS + PAIRS))
    theirs = pipeline_of(folder)
    for item, reply in zip(TEXTS + PAIRS, replies, strict=True):
        assert_equal(reply["body"]["predictions"], theirs(item))
    assert ["x-truncated" in reply["headers"] for reply in replies] == [False] * 5 + [True, False, True, True]


def test_a_fine_tuned_checkpoint_names_the_topic_in_every_form_of_request(ask, topics):
    as_list = {"text": [TEXTS[0], {"text": TEXTS[1], "text_pair": TEXTS[1]}], "parameters": {"top_k": 1}}
    instances = {"instances": [{"text": TEXTS[2]}, TEXTS[1], {"text": TEXTS[0], "text_pair": TEXTS[0]}]}
    bad = [
        json_request({"text": [TEXTS[0], " "]}),
        json_request({"text": TEXTS[0], "text_pair": 7}),
        json_request({"text": [{"text": TEXTS[0]}]}),
        json_request({"text": TEXTS[0], "text_pair": "x" * 100_001}),
        json_request({"instances": [{"text": "x" * 99_999, "text_pair": "x" * 99_999}] * 6}),
        json_request({"text": TEXTS[0], "parameters": {"top_k": 0}}),
        json_request({"text": TEXTS[0], "parameters": {"top": 1}}),
        Request(b"\xff"),
    ]
    good = [Request(text.encode()) for text in TEXTS[:3]] + [json_request(as_list), json_request(instances)]
    good.append(TASK.traffic(TEXTS[0]))
    replies = ask("text-classification", topics, [*good[:2], *bad, *good[2:]])
    answers = [reply["body"] for reply in replies if reply["status"] == 200]
    assert len(answers) == len(good)
    assert [answer["predictions"][0]["label"] for answer in answers[:3]] == EXPECTED
    assert [len(answer["predictions"]) for answer in answers[:3]] == [3, 3, 3]
    assert all(answer["predictions"][0]["score"] > 0.9 for answer in answers[:3])
    assert [[each["label"] for each in item] for item in answers[3]["predictions"]] == [["weather"], ["food"]]
    theirs = pipeline_of(topics)
    for ours, item in zip(answers[4]["predictions"], [TEXTS[2], TEXTS[1], (TEXTS[0], TEXTS[0])], strict=True):
        assert_equal(ours, theirs(item))
    assert TASK.headline(answers[5]) == "weather" and TASK.same(answers[5], answers[0])
    food = {"predictions": [{"label": "food", "score": 0.9}, {"label": "weather", "score": 0.1}]}
    assert not TASK.same(answers[0], food)
    refused = [(reply["status"], reply["body"]["message"]) for reply in replies if reply["status"] != 200]
    expected = [
        (400, "Text 1 is blank; send at least one character."),
        (400, 'The text\'s "text_pair" is a number; expected a string.'),
        (400, 'The text is an object without "text_pair"; expected text and text_pair.'),
        (413, 'The text\'s "text_pair" has 100001 characters; at most 100000 are accepted: split it.'),
        (413, "The texts have 1199988 characters together; at most 1000000 are accepted: send several requests."),
        (400, '"top_k" must be a whole number from 1 to 1000.'),
        (400, '"parameters" has an option that this model does not know; it knows: top_k.'),
        (400, "The body is not UTF-8 text (byte 0 is 0xff); encode it as UTF-8."),
    ]
    assert refused == expected


@pytest.mark.parametrize("variant", ["eager", "onnx", "openvino"])
def test_variants_answer_as_the_pipeline_does(ask, topics, variant):
    if variant != "eager":
        pytest.importorskip("onnxscript")
        pytest.importorskip(variant)
    replies = ask("text-classification", topics, requests_of(TEXTS + PAIRS), variant)
    for item, reply in zip(TEXTS + PAIRS, replies, strict=True):
        assert_equal(reply["body"]["predictions"], pipeline_of(topics)(item))


def test_int8_keeps_the_topics(ask, topics):
    replies = ask("text-classification", topics, [Request(text.encode()) for text in TEXTS[:3]], "int8")
    assert [reply["body"]["predictions"][0]["label"] for reply in replies] == EXPECTED


@pytest.mark.parametrize(
    ("config", "between_0_and_1"),
    [
        ({"num_labels": 4, "problem_type": "multi_label_classification"}, True),
        ({"num_labels": 3, "problem_type": "regression"}, False),
    ],
    ids=["several labels", "several numbers"],
)
def test_scores_are_those_of_the_pipeline(ask, tmp_path, config, between_0_and_1):
    folder = checkpoints.write_checkpoint(tmp_path / "checkpoint", "bert", "classification", **config)
    replies = ask("text-classification", folder, [Request(text.encode()) for text in TEXTS])
    for text, reply in zip(TEXTS, replies, strict=True):
        assert_equal(reply["body"]["predictions"], pipeline_of(folder)(text))
    scores = [each["score"] for reply in replies for each in reply["body"]["predictions"]]
    assert all(0 <= score <= 1 for score in scores) == between_0_and_1
    assert sum(each["score"] for each in replies[0]["body"]["predictions"]) != pytest.approx(1)  # no softmax


def test_one_output_is_scored_by_a_sigmoid_unless_it_is_a_number(tmp_path):
    one = checkpoints.write_checkpoint(tmp_path / "one", "bert", "classification", num_labels=1)
    assert read_text_folder(one, {"task": "text-classification"}).head["scores"] == "sigmoid"
    number = checkpoints.write_checkpoint(
        tmp_path / "number", "bert", "classification", num_labels=1, problem_type="regression"
    )
    found = read_text_folder(number, {})
    assert (found.task, found.head["scores"]) == ("text-classification", "none")
