"""Every mistake in make's variables gives one sentence that says how to fix it."""

import pytest

from choose.errors import ChooseError
from choose.request import command, read


def test_what_is_asked_is_read():
    asked = read({
        "MODELS": "minilm, digits minilm", "OBJECTIVE": "latency", "RATE": "200", "SLO_P99_MS": "50", "BUDGET": "90s",
        "MIN_ACCURACY": "98.5", "MIN_COSINE": "0.999", "WORKERS": "2,1", "HOURLY_COST": "0.4", "VARIANTS": "int8,onnx",
        "THREADS": "", "TRIALS": "7",
    })  # fmt: skip
    assert asked.models == ("minilm", "digits") and asked.variants == ("int8", "onnx") and asked.workers == (1, 2)
    assert (asked.objective, asked.rate, asked.slo_p99_ms, asked.budget_s) == ("latency", 200, 50, 90)
    assert (asked.min_accuracy, asked.min_cosine, asked.hourly_cost, asked.trials) == (0.985, 0.999, 0.4, 7)
    assert asked.threads == ()


def test_what_is_not_asked_has_its_default():
    asked = read({"MODEL": "minilm", "RATE": ""})
    assert (asked.objective, asked.budget_s, asked.rate, asked.slo_p99_ms, asked.rounds) == (
        "throughput", 1200, None, None, 2)  # fmt: skip


@pytest.mark.parametrize(("text", "seconds"), [("20m", 1200), ("90s", 90), ("1h", 3600), ("0.5h", 1800)])
def test_a_budget_has_its_unit(text, seconds):
    assert read({"MODEL": "minilm", "BUDGET": text}).budget_s == seconds


@pytest.mark.parametrize(
    ("variables", "given", "cure"),
    [
        ({"MODEL": ""}, "Which model", "make choose MODEL=minilm"),
        ({"MODEL": "a", "MODELS": "b"}, "MODEL= and MODELS=", "leave one"),
        ({"MODEL": "", "MODELS": "minilm /data/bert"}, "/data/bert is a checkpoint", "MODEL=/data/bert"),
        ({"NAME": "mine"}, "NAME= describes a checkpoint, and minilm is the name of a model", "MODEL=/path"),
        ({"HANDLER": "/x.py"}, "HANDLER= describes a checkpoint", "leave it out"),
        ({"OBJECTIVE": "speed"}, "OBJECTIVE=speed", "throughput, latency, memory"),
        ({"OBJECTIVE": "throughput", "RATE": "5"}, "RATE=5", "OBJECTIVE=latency"),
        ({"BUDGET": "20"}, "BUDGET=20", "BUDGET=20m"),
        ({"BUDGET": "0m"}, "BUDGET=0m", "BUDGET=20m"),
        ({"SLO_P99_MS": "fast"}, "SLO_P99_MS=fast", "SLO_P99_MS=50"),
        ({"SLO_P99_MS": "-1"}, "SLO_P99_MS=-1", "above 0"),
        ({"MIN_COSINE": "99"}, "MIN_COSINE=99", "at most 1"),
        ({"MIN_ACCURACY": "nan"}, "MIN_ACCURACY=nan", "per cent"),
        ({"WORKERS": "0,1"}, "WORKERS=0,1", "WORKERS=1,2"),
        ({"BATCHES": "9999"}, "BATCHES=9999", "from 1 to 1024"),
        ({"TRIALS": "-3"}, "TRIALS=-3", "TRIALS=20"),
        ({"HOURLY_COST": "free"}, "HOURLY_COST=free", "HOURLY_COST=0.40"),
    ],
)
def test_a_mistake_is_one_sentence(variables, given, cure):
    with pytest.raises(ChooseError) as error:
        read({"MODEL": "minilm", **variables})
    text = str(error.value)
    assert given in text and cure in text and "\n" not in text


def test_a_checkpoint_is_told_from_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("reviews-bert", "minilm"):
        (tmp_path / folder).mkdir()
    for given, name in ((str(tmp_path / "reviews-bert"), "reviews-bert"), ("reviews-bert", "reviews-bert"),
                        ("org/name@main", "name")):  # fmt: skip
        asked = read({"MODEL": given})
        assert asked.models == (name,) and asked.checkpoint, given
    assert read({"MODEL": "org/name", "NAME": "mine", "TASK": "embedding"}).models == ("mine",)
    assert not read({"MODEL": "minilm"}).checkpoint  # a folder of the same name is not meant
    repeated = command({"MODEL": "/data/x", "NAME": "mine", "TRIALS": "3"}, "mine")
    assert repeated == "make choose MODEL=mine TRIALS=3"


def test_the_command_names_one_model_and_quotes_what_needs_it():
    variables = {"MODELS": "minilm digits", "VARIANTS": "int8 onnx", "SLO_P99_MS": "50", "PATH": "/bin", "RATE": ""}
    assert command(variables, "digits") == "make choose MODEL=digits SLO_P99_MS=50 VARIANTS='int8 onnx'"
