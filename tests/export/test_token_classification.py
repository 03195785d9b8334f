"""The archive's entities, with positions, words and scores, equal those of transformers' pipeline."""

import pytest

from export.tasks import TASKS, Request, json_request
from tests.token_checkpoints import TOKENS, ask, built_once, entity_sentences, labels, write_random, write_tagger

TASK = "token-classification"
STRATEGIES = ("simple", "first", "max")
TEXTS = [
    *[text for text, _ in entity_sentences()][:12],
    "  Marie Curie moved\tto   Paris. ",
    "María José de São Paulo, Zürich",  # accents that are letters
    "Mari\u0301a Jose\u0301 de Sa\u0303o Paulo",  # accents that are marks of their own
    "I ❤️ 🍕 in London 👩‍👩‍👧‍👦 with Ada Lovelace!",
    "東京のソニーは Sony です。",
    "ﬁne ☃ ĳ \u200bzero\u00a0width <unk> [UNK] [SEP] Siemens-AG's",
    "Ada",
    "!",
    "\u200b",  # the tokenizer gives no token
    "Angela Merkel flew from Berlin to Paris. " * 20,
]
VARIANTS = {
    "tagger": ("eager", "int8"),
    "roberta": ("torchscript",),
    "distilbert": ("onnx",),
}
ARCHIVES = [(folder, variant) for folder, variants in VARIANTS.items() for variant in variants]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    places = tmp_path_factory.mktemp("checkpoints")
    families = ("roberta", "distilbert")
    random = [write_random(places / family, family, "TokenClassification", **labels()) for family in families]
    return {folder.name: folder for folder in (write_tagger(places / "tagger"), *random)}


@pytest.fixture(scope="module")
def pipelines(folders):
    from transformers import pipeline

    return {
        (name, strategy): pipeline(TASK, model=str(folder), device="cpu", aggregation_strategy=strategy)
        for name, folder in folders.items()
        for strategy in STRATEGIES
    }


@pytest.fixture(scope="module")
def archive(folders, tmp_path_factory):
    return built_once(TASK, folders, tmp_path_factory.mktemp("store"))


def asked(text, strategy):
    return json_request({"text": text, "parameters": {"aggregation_strategy": strategy}})


def assert_same_entities(ours, theirs, text, approx):
    found = [{key: each[key] for key in each if key != "score"} for each in ours]
    assert found == [{key: each[key] for key in each if key != "score"} for each in theirs], text
    assert [each["score"] for each in ours] == pytest.approx([float(each["score"]) for each in theirs], **approx)


@pytest.mark.parametrize(("name", "variant"), ARCHIVES)
def test_the_entities_are_those_of_transformers_pipeline(archive, pipelines, name, variant):
    """All strategies, with each text alone and all lengths in one batch. int8 is tested only with clear margins."""
    texts = TEXTS[:12] if variant == "int8" else TEXTS
    approx = {"abs": 0.05} if variant == "int8" else {"rel": 1e-3}
    together = [[asked(text, strategy) for text in texts] for strategy in STRATEGIES]
    alone = [[request] for request in together[0]]
    *batches, singles = *(replies := ask(archive(name, variant), *together, *alone))[:3], replies[3:]
    for strategy, batch in zip(STRATEGIES, batches, strict=True):
        for text, reply in zip(texts, batch, strict=True):
            assert reply["status"] == 200, reply
            assert_same_entities(reply["body"]["predictions"], pipelines[name, strategy](text), text, approx)
    for text, (reply,) in zip(texts, singles, strict=True):
        assert_same_entities(reply["body"]["predictions"], pipelines[name, "simple"](text), text, approx)


def test_the_names_in_the_training_sentences_are_found_at_their_places(archive):
    sentences = entity_sentences()
    (replies,) = ask(archive("tagger", "int8"), [Request(text.encode()) for text, _ in sentences])
    for (text, spans), reply in zip(sentences, replies, strict=True):
        found = reply["body"]["predictions"]
        assert [(each["start"], each["end"], each["entity_group"]) for each in found] == spans, text
        assert [each["word"] for each in found] == [text[start:end].lower() for start, end, _ in spans]


def test_a_long_text_is_cut_at_the_models_limit_and_says_so(archive):
    short, long = Request(b"Marie Curie moved to Paris."), Request(("Marie Curie moved to Paris. " * 30).encode())
    ((first, second),) = ask(archive("tagger", "int8"), [short, long])
    assert "x-truncated" not in first["headers"] and second["headers"]["x-truncated"] == "1"
    assert second["body"]["predictions"][-1]["end"] < TOKENS * 6


def test_lists_instances_and_bad_options_are_answered_in_their_forms(archive):
    text = "Ada Lovelace was born in London."
    several = [
        json_request({"text": [text, "It rained."]}),
        json_request({"instances": [{"text": text}, "It rained."]}),
        json_request({"text": text, "parameters": {"aggregation_strategy": "average"}}),
        json_request({"text": 3}),
        Request(text.encode()),
    ]
    ((listed, instances, unknown, number, plain),) = ask(archive("tagger", "int8"), several)
    found = plain["body"]["predictions"]
    assert [(each["entity_group"], each["word"]) for each in found] == [("PER", "ada lovelace"), ("LOC", "london")]
    assert listed["body"]["predictions"] == instances["body"]["predictions"]
    assert [len(each) for each in listed["body"]["predictions"]] == [2, 0]
    assert unknown["status"] == 400 and "must be one of simple, first, max" in unknown["body"]["message"]
    assert number["status"] == 400


def test_the_load_test_compares_answers_by_the_entity_with_the_highest_score():
    task = TASKS[TASK]
    golden = {"predictions": [
        {"entity_group": "LOC", "score": 0.6, "word": "x", "start": 0, "end": 1},
        {"entity_group": "PER", "score": 0.9, "word": "ada lovelace", "start": 4, "end": 16},
    ]}  # fmt: skip
    moved = {"predictions": [{"entity_group": "PER", "score": 0.9, "word": "ada", "start": 4, "end": 7}]}
    other = {"predictions": [{"entity_group": "PER", "score": 0.9, "word": "ada", "start": 24, "end": 27}]}
    none = {"predictions": []}
    assert task.same(golden, golden) and task.same(golden, moved) and task.same(none, none)
    assert not task.same(golden, other) and not task.same(golden, none) and not task.same(none, golden)
    assert task.headline(golden) == "LOC x" and task.headline(none) == ""
    assert task.traffic("Ada lived.").body == b"Ada lived."
