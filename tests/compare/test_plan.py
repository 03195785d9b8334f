"""The settings that are tried, and the requests to make compare."""

import pytest

from compare import plan, request
from compare.errors import CompareError
from compare.peers_table import BY_NAME, PEERS
from compare.plan import Setting


def test_every_shape_keeps_all_cores_busy_with_batches_and_without():
    assert plan.shapes(1) == [(1, 1)] and plan.shapes(2) == [(2, 1), (1, 2)]
    assert plan.shapes(8) == [(8, 1), (4, 2), (1, 8)]
    assert [each.label for each in plan.settings(2)] == [
        "2 × 1, no batches", "2 × 1, batch 8", "1 × 2, no batches", "1 × 2, batch 8",
    ]  # fmt: skip


def test_batches_are_not_tried_where_no_company_can_come():
    assert plan.tried(Setting(2, 1, 1), (1, 8, 64)) == [64, 8, 1]
    assert plan.tried(Setting(2, 1, 8, 2.0), (1, 8, 64)) == [64, 8]


def test_ours_is_measured_as_served_and_with_the_settings_that_peers_may_have():
    found = plan.subjects(["torchserve", "fastapi"], 2, "cpu", ["torchscript", "int8"])
    assert [each.name for each in found] == [
        "ours", "ours-tuned", "ours-chosen", "torchserve-example", "torchserve", "fastapi",
    ]  # fmt: skip
    ours, tuned, chosen, example, torchserve, fastapi = found
    assert tuned.settings == torchserve.settings == fastapi.settings and len(tuned.settings) == 4
    assert ours.settings == example.settings == (Setting(),) and example.example and not torchserve.example
    assert [each.variant for each in chosen.settings] == ["int8"] and not chosen.same_file and tuned.same_file


def test_without_another_variant_there_is_no_best_one():
    assert "ours-chosen" not in [each.name for each in plan.subjects(["ray"], 2, "cpu", ["torchscript"])]


def test_every_peer_is_pinned_exactly():
    assert all("==" in pin for peer in PEERS for pin in peer.pins)


def test_the_defaults_are_all_peers_at_three_loads(tmp_path):
    found = request.read({"OUT": str(tmp_path / "x.json")})
    assert (found.model, found.peers, found.clients) == ("minilm", tuple(BY_NAME), (1, 8, 64))


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"PEERS": "flask"}, 'PEERS=flask is not known; there are PEERS="torchserve fastapi'),
        ({"MODELS": "digits"}, "the peers are written for embedding: MODELS=minilm"),
        ({"MODELS": "minilm digits"}, "compare one at a time: MODELS=minilm"),
        ({"CLIENTS": "1 many"}, "CLIENTS=many is not understood: whole numbers from 1 to 1024"),
        ({"DURATION": "-1"}, "DURATION=-1 is not understood"),
        ({"ROUNDS": "0"}, "ROUNDS=0 is not understood"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(variables, said):
    with pytest.raises(CompareError) as caught:
        request.read(variables)
    assert said in str(caught.value)
