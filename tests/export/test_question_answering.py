"""Question answering through the archive, compared with a plain implementation of SQuAD's published algorithm.

The reference uses transformers' own tokenizer and network, and follows run_squad.py of Devlin et al. (2018) step by
step. It shares no code with the handlers.
"""

import json
import math

import pytest

from export.tasks import TASKS, Request, json_request
from tests.token_checkpoints import TOKENS, ask, built_once, questions, write_random, write_reader

TASK = "question-answering"
N_BEST, LONGEST, STRIDE = 20, 30, 128
ROOMS = " ".join(f"Room {number} has {number * 7 % 31} chairs and {number * 5 % 17} lamps." for number in range(1, 260))
ASKED = [
    *[(question, context) for context, question, _ in questions()[::4]],
    ("Who?", "  \t Tom sold   the old red car. "),
    ("¿Dónde vive María?", "María José vive en São Paulo, Mari\u0301a en Zürich."),
    ("東京は?", "I ❤️ 🍕 in London 👩‍👩‍👧‍👦; 東京 is far."),
    ("Who?", "Ada"),
    ("Who sold the car? " * 8, "Nobody knows, but Tom sold the old red car to his sister. " + ROOMS[:300]),
    ("Which room has a piano?", ROOMS[:900]),
]
VARIANTS = {
    "reader": ("torchscript", "onnx"),
    "roberta": ("eager",),
    "distilbert": ("frozen", "openvino"),
}
ARCHIVES = [(folder, variant) for folder, variants in VARIANTS.items() for variant in variants]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    places = tmp_path_factory.mktemp("checkpoints")
    random = [write_random(places / family, family, "QuestionAnswering") for family in ("roberta", "distilbert")]
    return {folder.name: folder for folder in (write_reader(places / "reader"), *random)}


@pytest.fixture(scope="module")
def library(folders):
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    return {
        name: (AutoTokenizer.from_pretrained(folder), AutoModelForQuestionAnswering.from_pretrained(folder).eval())
        for name, folder in folders.items()
    }


@pytest.fixture(scope="module")
def archive(folders, tmp_path_factory):
    return built_once(TASK, folders, tmp_path_factory.mktemp("store"))


def asked(question, context, **parameters):
    return json_request({"question": question, "context": context, "parameters": parameters})


def windows_of(tokenizer, question, context):
    """transformers' windows: [(inputs, offsets, {position of each context token: its index in the context})]."""
    taken = len(tokenizer.tokenize(question)) + tokenizer.num_special_tokens_to_add(pair=True)
    stride = min(STRIDE, (TOKENS - taken) // 2)
    encoded = tokenizer(
        question, context, truncation="only_second", max_length=TOKENS, stride=stride,
        return_overflowing_tokens=True, return_offsets_mapping=True,
    )  # fmt: skip
    found, first = [], 0
    for at, ids in enumerate(encoded["input_ids"]):
        places = [place for place, sequence in enumerate(encoded.sequence_ids(at)) if sequence == 1]
        inputs = {name: encoded[name][at] for name in tokenizer.model_input_names if name in encoded}
        assert len(ids) <= TOKENS
        numbers = {place: first + step for step, place in enumerate(places)}
        found.append((inputs, encoded["offset_mapping"][at], numbers))
        first += len(places) - stride
    return found


def best_window(windows, number):
    """run_squad.py, _check_is_max_context: the window, of [(first, last token)], in which a token has the most
    context."""
    best, best_score = None, None
    for at, (first, last) in enumerate(windows):
        if not first <= number <= last:
            continue
        score = min(number - first, last - number) + 0.01 * (last - first + 1)
        if best_score is None or score > best_score:
            best, best_score = at, score
    return best


def best_indexes(logits):
    """run_squad.py, _get_best_indexes."""
    return sorted(range(len(logits)), key=lambda at: logits[at], reverse=True)[:N_BEST]


def published(library, question, context, longest=LONGEST):
    """run_squad.py, write_predictions: [(start, end, probability)], best first."""
    import torch

    tokenizer, network = library
    windows, preliminary = windows_of(tokenizer, question, context), []
    extents = [(min(numbers.values()), max(numbers.values())) for _, _, numbers in windows]
    for at, (inputs, offsets, numbers) in enumerate(windows):
        with torch.inference_mode():
            output = network(**{name: torch.tensor([ids]) for name, ids in inputs.items()})
        starts, ends = output.start_logits[0].tolist(), output.end_logits[0].tolist()
        for start in best_indexes(starts):
            if start not in numbers or best_window(extents, numbers[start]) != at:
                continue
            for end in best_indexes(ends):
                if end not in numbers or end < start or end - start + 1 > longest:
                    continue
                preliminary.append((starts[start] + ends[end], offsets[start][0], offsets[end][1]))
    preliminary.sort(key=lambda each: each[0], reverse=True)
    best, seen = [], set()
    for total, start, end in preliminary:
        while start < end and context[start].isspace():
            start += 1
        while start < end and context[end - 1].isspace():
            end -= 1
        if start == end or context[start:end] in seen:
            continue
        seen.add(context[start:end])
        best.append((total, start, end))
        if len(best) == N_BEST:
            break
    whole = sum(math.exp(total - best[0][0]) for total, _, _ in best)
    return [(start, end, math.exp(total - best[0][0]) / whole) for total, start, end in best]


def assert_published(found, expected, context, abs=1e-4):
    """Positions and scores are the published ones. Two answers may be swapped if their scores differ by rounding."""
    theirs = {(start, end): score for start, end, score in expected}
    assert len(found) == min(len(expected), 10)
    assert [each["score"] for each in found] == pytest.approx([score for _, _, score in expected[:10]], abs=abs)
    for each in found:
        assert each["answer"] == context[each["start"] : each["end"]]
        assert theirs[each["start"], each["end"]] == pytest.approx(each["score"], abs=abs)


@pytest.mark.parametrize(("name", "variant"), ARCHIVES)
def test_answers_are_those_of_the_published_algorithm(archive, library, name, variant):
    """The requests are sent alone, and in one batch of all lengths, whose windows run in groups."""
    requests = [asked(question, context, top_k=10) for question, context in ASKED]
    together, *alone = ask(archive(name, variant), requests, *[[request] for request in requests])
    for (question, context), *replies in zip(ASKED, together, [reply for (reply,) in alone], strict=True):
        expected = published(library[name], question, context)
        for reply in replies:
            assert reply["status"] == 200, reply
            assert "x-truncated" not in reply["headers"]
            assert_published(reply["body"], expected, context)


@pytest.mark.parametrize("last", [129, 130, 300, 500])
def test_a_token_belongs_to_the_window_with_its_most_context_also_if_the_last_window_is_short(last):
    """In windows of 512 tokens, a hundredth of the window's length is more than up to four tokens of context."""
    from handlers.tasks.question_answering import _owned

    windows = [(0, 499), (372, 871), (744, 743 + last)]
    owned = _owned(tuple(first for first, _ in windows), [end - first + 1 for first, end in windows])
    for at, (first, end) in enumerate(windows):
        assert owned[at].tolist() == [best_window(windows, number) == at for number in range(first, end + 1)]


def test_the_trained_questions_are_answered_at_their_places(archive):
    requests = [asked(question, context) for context, question, _ in questions()]
    (replies,) = ask(archive("reader", "torchscript"), requests)
    found = [(reply["body"]["answer"], reply["body"]["start"]) for reply in replies]
    wanted = [(answer, context.index(answer)) for context, _, answer in questions()]
    assert sum(ours == theirs for ours, theirs in zip(found, wanted, strict=True)) >= 38


def test_requests_with_more_windows_than_one_pass_takes_are_answered_completely(archive, library):
    """Two requests in one batch. Also tests the options for a shorter answer and for a single answer, an object."""
    tokenizer, _ = library["roberta"]
    rooms = ROOMS[:2500]
    assert 32 < len(windows_of(tokenizer, "Which room?", rooms)) <= 64
    many, short, one = asked("Which room?", rooms, top_k=10), *(
        asked("Which room?", ROOMS[:1500], **each) for each in ({"top_k": 10, "max_answer_tokens": 2}, {})
    )  # fmt: skip
    ((*wholes, brief, single),) = ask(archive("roberta", "eager"), [many, many, short, one])
    expected = published(library["roberta"], "Which room?", rooms)
    for whole in wholes:
        assert_published(whole["body"], expected, rooms)
    assert any(each["start"] > len(rooms) // 4 for each in wholes[0]["body"])
    assert_published(brief["body"], published(library["roberta"], "Which room?", ROOMS[:1500], 2), ROOMS)
    assert set(single["body"]) == {"answer", "score", "start", "end"}


def test_instances_are_answered_in_order_and_a_bad_request_fails_alone_with_its_cure(archive):
    context, question, _ = questions()[0]
    pair = {"question": question, "context": context}
    cases = [
        (json_request(pair), 200, ""),
        (json_request({"instances": [pair, {"question": "Who?", "context": ROOMS[:1500]}]}), 200, ""),
        (json_request({"question": question}), 400, 'send JSON {"question": ..., "context": ...}'),
        (json_request({"instances": [pair, "Who?"]}), 400, "Item 1 is a string"),
        (json_request({"instances": [pair, {"question": question}]}), 400, '"context"'),
        (json_request({"question": "Who sold it? " * 30, "context": context}), 400, "at most 60 are accepted: shorten"),
        (json_request({"question": question, "context": "\u200b"}), 400, "context of the question has no char"),
        (json_request({"question": " ", "context": context}), 400, "blank"),
        (json_request({"instances": [{"question": "Who?", "context": ROOMS[:3000]}] * 2}), 413, "of question 1 makes"),
        (json_request({**pair, "parameters": {"top_k": 21}}), 400, "from 1 to 20"),
        (Request(context.encode()), 415, "takes no raw body"),
        (json_request({**pair, "parameters": {"top_k": 2}}), 200, ""),
    ]
    (replies,) = ask(archive("reader", "torchscript"), [request for request, _, _ in cases])
    for (_, status, says), reply in zip(cases, replies, strict=True):
        assert reply["status"] == status, reply
        assert says in reply["body"]["message"] if says else "message" not in reply["body"]
    single, instances, two = replies[0]["body"], replies[1]["body"]["predictions"], replies[-1]["body"]
    assert single["answer"] == "London" and instances[0] == pytest.approx(single) and two[0] == pytest.approx(single)
    assert len(two) == 2 and two[0]["score"] > two[1]["score"]
    assert instances[1]["answer"] == ROOMS[instances[1]["start"] : instances[1]["end"]]


def test_the_load_test_makes_a_question_from_a_sentence_and_compares_answers_by_position():
    task = TASKS[TASK]
    golden = {"answer": "the old red car", "score": 0.9, "start": 9, "end": 24}
    moved, other = {**golden, "start": 13}, {**golden, "start": 30, "end": 35}
    none = {"answer": "", "score": 0.0, "start": 0, "end": 0}
    assert task.same(golden, golden) and task.same(golden, moved) and task.same(none, none)
    assert not task.same(golden, other) and not task.same(golden, none) and not task.same(none, golden)
    assert task.headline(golden) == "the old red car"
    sent = task.traffic("Tom sold the car.")
    assert json.loads(sent.body) == {"question": "What is said?", "context": "Tom sold the car."}
    assert sent.content_type == "application/json"
