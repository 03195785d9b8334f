"""The explained prediction, the offsets of tokens and the baselines, for single requests and in batches."""

import json

import numpy as np
import pytest

from tests.handlers.explanations.explained import (
    EXPLAIN,
    PAIR,
    SINGLE,
    TEXT,
    Asked,
    base64_of,
    explain,
    explanation,
    picture,
    predict,
)


@pytest.mark.parametrize("name", SINGLE)
def test_the_explained_prediction_equals_the_answer_of_predictions(service, name):
    body, of = SINGLE[name]
    predicted, found = of(predict(service(name), body)), explanation(service(name), body)["prediction"]
    assert found.pop("score") == pytest.approx(predicted.pop("score"), rel=1e-5) and found == predicted


def test_the_explained_prediction_of_an_image_equals_the_answer_of_predictions(pictures):
    body = base64_of(picture(3))
    best, *others = predict(pictures, body)["predictions"]
    for expected, options in ((best, {}), (others[1], {"target": others[1]["label"]})):
        found = explanation(pictures, body, steps=2, **options)["prediction"]
        assert found["label"] == expected["label"] and found["score"] == pytest.approx(expected["score"], rel=1e-5)


def test_the_token_of_the_likeliest_entity_is_explained(service):
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
def test_offsets_count_characters_of_the_text_as_sent(service, name):
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


def test_tokens_of_a_pair_name_their_text(service):
    tokens = explanation(service("bert"), PAIR)["tokens"]
    assert {token["part"] for token in tokens} == set(PAIR)
    assert all(token["end"] <= len(PAIR[token["part"]]) for token in tokens)
    asked = explanation(service("reader"), SINGLE["reader"][0])
    assert {token["part"] for token in asked["tokens"]} == {"question", "context"}
    answer = asked["prediction"]
    read = [token for token in asked["tokens"] if token["part"] == "context"]
    first, last = min(token["start"] for token in read), max(token["end"] for token in read)
    assert first <= answer["start"] < answer["end"] <= last


def test_baselines_differ_and_special_tokens_have_no_attribution(service, pictures):
    table = service("bert").runtime.module.network.get_input_embeddings().weight
    before = table[0].clone()
    table[0] += 1  # transformers initializes the padding's embedding with zeros; training changes it
    padded, zero = (explanation(service("bert"), {"text": TEXT}, baseline=each) for each in ("pad", "zero"))
    table[0] = before
    assert padded["value"] == pytest.approx(zero["value"]) and padded["baseline_value"] != zero["baseline_value"]
    assert not {"[CLS]", "[SEP]"} & {token["token"] for token in padded["tokens"]}
    maps = [explanation(pictures, base64_of(picture()), baseline=each, steps=2) for each in ("black", "white", "mean")]
    assert len({each["baseline_value"] for each in maps}) == 3 and len({each["value"] for each in maps}) == 1


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
