"""A decision is written into models.toml and removed again. Lines that a person wrote stay in their place."""

import stat

import pytest

from choose.record import reason, record
from serving.chosen import Choice, Choices
from serving.errors import ServingError
from serving.identity import Identity
from serving.model_settings import ModelSettings

INT8 = {"workers": 2, "threads": 1, "batch_size": 16, "queue": 100}
BY_HAND = """\
# ours
[minilm]
workers = 1  # small machine

# eager is for debugging
[minilm.variants.eager]
batch_size = 1

# digits are few
[digits]
workers = 2
# the end
"""
WRITTEN = """\
# ours
[minilm]
workers = 1  # small machine
variant = "int8"

# eager is for debugging
[minilm.variants.eager]
batch_size = 1

[minilm.variants.int8]
workers = 2
threads = 1
batch_size = 16
queue = 100

[minilm.chosen]
by = "make choose MODEL=minilm SLO_P99_MS=50"
date = "2026-11-29"
machine = "AMD EPYC, 2 cores, no GPU"
reason = "241 requests/s within a p99 of 50 ms; the default: 115 requests/s"

# digits are few
[digits]
workers = 2
# the end
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS_FILE", str(tmp_path / "models.toml"))
    return tmp_path / "models.toml"


def finalist(variant, settings, requests_per_s):
    return {"archive": f"minilm-{variant}", "variant": variant, "settings": settings, "requests_per_s": requests_per_s,
            "p50_ms": 3.14159, "p99_ms": 12.3456, "memory_mib": 812.4, "meets": True}  # fmt: skip


def decision(variant="int8", default_stays=False, **objective):
    """The parts of decision.json that are written down."""
    return {
        "command": "make choose MODEL=minilm SLO_P99_MS=50", "date": "2026-11-29T00:12:00+00:00", "model": "minilm",
        "objective": {"name": "throughput", "slo_p99_ms": 50.0, "rate": None, **objective},
        "machine": {"cpu": "AMD EPYC", "cores": 2, "gpus": []}, "default_stays": default_stays,
        "winner": finalist(variant, INT8, 241.2), "default": finalist("torchscript", {}, 115.4), "finalists": [],
    }  # fmt: skip


def test_a_decision_is_written_below_what_a_person_wrote(file, capsys):
    file.write_text(BY_HAND)
    record(decision())
    assert file.read_text() == WRITTEN
    assert f"{file}: minilm is int8, workers 2, threads 1, batch size 16, queue 100\n" == capsys.readouterr().out
    assert Choices.load(file).models["minilm"] == Choice(
        ("int8",), "make choose MODEL=minilm SLO_P99_MS=50", "2026-11-29", "AMD EPYC, 2 cores, no GPU",
        "241 requests/s within a p99 of 50 ms; the default: 115 requests/s",
    )  # fmt: skip
    assert ModelSettings.load(file).of(Identity("minilm-int8", "minilm", "int8", ours=True)) == INT8


def test_another_decision_takes_the_place_of_the_earlier_one(file):
    file.write_text(BY_HAND)
    record(decision())
    record(decision("onnx"))
    assert file.read_text() == WRITTEN.replace("int8", "onnx")


@pytest.mark.parametrize(("low", "says"), [(0.97, ", the difference is within the interval\n"), (1.01, "2026-11-29\n")])
def test_a_second_run_with_another_winner_says_whether_the_difference_is_within_the_interval(file, capsys, low, says):
    record(decision())
    other = finalist("int8", INT8, 240.0) | {"ratio_to_winner": {"ratio": 1.0, "low": low, "high": 1.02}}
    record(decision("onnx") | {"finalists": [other]})
    printed = capsys.readouterr().out.splitlines(keepends=True)[-1]
    assert "; it replaces int8 of 2026-11-29" in printed and printed.endswith(says)


def test_where_the_default_stays_the_earlier_choice_goes(file, capsys):
    file.write_text(BY_HAND)
    record(decision())
    record(decision(default_stays=True))
    assert file.read_text() == BY_HAND
    assert "the default of minilm stays; the earlier choice, int8 by make choose MODEL=" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("before", "says"),
    [
        (None, "stays; nothing was written"),
        ("[minilm]\nvariant = 'onnx'\n", "variant = onnx, which was written by hand"),
    ],
)
def test_where_the_default_stays_and_nothing_was_chosen_the_file_stays(file, capsys, before, says):
    if before:
        file.write_text(before)
    record(decision(default_stays=True))
    assert (file.read_text() if file.exists() else None) == before and says in capsys.readouterr().out


def test_settings_that_were_not_measured_are_named(file, capsys):
    file.write_text("[minilm]\nbatch_delay_ms = 5\n")
    record(decision())
    assert "; batch delay 5 ms of that file, which was not measured, applies as well" in capsys.readouterr().out


@pytest.mark.parametrize(
    "before",
    [
        "[minilm.variants.int8]\nbatch_delay_ms = 3\n[digits]\nqueue = 3\n",
        "[minilm]\nworkers = 1\n[digits]\nqueue = 3\n[minilm.variants.int8]\nbatch_delay_ms = 3 # slow\n",
        "minilm = {workers = 2}\n[digits]\nqueue = 3\n",
        "[minilm]\nvariants = {eager = {queue = 9}}\n",
        "minilm.workers = 2\n",
    ],
)
def test_a_file_may_be_laid_out_in_any_way(file, before):
    file.write_text(before)
    others = ModelSettings.load(file)
    record(decision())
    found = ModelSettings.load(file)
    assert Choices.load(file).variants("minilm") == ("int8",)
    assert found.models == others.models
    assert found.variants == others.variants | {("minilm", "int8"): found.variants["minilm", "int8"]}
    assert INT8.items() <= found.variants["minilm", "int8"].items()


def test_a_file_that_is_no_toml_stays(file):
    file.write_text("[minilm\n")
    with pytest.raises(ServingError, match="is no valid TOML"):
        record(decision())
    assert file.read_text() == "[minilm\n" and list(file.parent.iterdir()) == [file]


def test_a_file_that_cannot_be_changed_safely_is_named_and_stays(file):
    file.write_text("minilm.workers = 2\n")
    record(decision())
    before = file.read_text()
    with pytest.raises(ServingError, match="keys stand in several places"):  # tomlkit cannot take them out again
        record(decision(default_stays=True))
    assert file.read_text() == before and list(file.parent.iterdir()) == [file]


def test_a_link_stays_a_link_and_the_files_mode_stays(file, tmp_path):
    kept = tmp_path / "kept.toml"
    kept.write_text("")
    kept.chmod(0o640)
    file.symlink_to(kept)
    record(decision())
    assert file.is_symlink() and "int8" in kept.read_text() and stat.S_IMODE(kept.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("objective", "default", "says"),
    [
        ({"slo_p99_ms": None}, {}, "241 requests/s; the default: 115 requests/s"),
        ({"name": "latency", "rate": 200, "slo_p99_ms": None}, {},
         "p50 3.14 ms, p99 12.3 ms at 200 requests/s; the default: p50 3.14 ms, p99 12.3 ms"),
        ({"name": "latency", "slo_p99_ms": None}, {"p99_ms": None},
         "p50 3.14 ms, p99 12.3 ms; the default: p50 3.14 ms"),
        ({"name": "memory"}, {}, "812 MiB within a p99 of 50 ms; the default: 812 MiB"),
        ({"name": "memory", "slo_p99_ms": None}, {"gpu_memory_mib": 512.0}, "812 MiB; the default: 512 MiB"),
        ({}, {"meets": False, "p99_ms": None}, "241 requests/s within a p99 of 50 ms; the default does not meet that"),
        ({}, None, "241 requests/s within a p99 of 50 ms"),
    ],
)  # fmt: skip
def test_the_reason_is_told_in_the_objectives_figures(objective, default, says):
    found = decision(**objective)
    assert reason({**found, "default": None if default is None else found["default"] | default}) == says
