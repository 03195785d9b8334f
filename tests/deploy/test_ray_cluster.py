"""A real cluster of three machines under a constant load: one model is scaled from 1 to 3, one is rolled to another
version, and a machine loses its power. With the client's retries no request fails.

It takes some minutes and about 6 GB of memory, so it runs only with RAY_CLUSTER=1.
"""

from __future__ import annotations

import os
import time

import pytest

from tests.deploy.ray_cluster import Cluster, Load, document, reversioned, until
from tests.deploy.test_image import namespaces

pytest.importorskip("ray", reason="Ray is not installed: pip install '.[ray]'")
pytestmark = [
    pytest.mark.served,
    pytest.mark.skipif(os.environ.get("RAY_CLUSTER") != "1", reason="it takes minutes; set RAY_CLUSTER=1"),
    pytest.mark.skipif(not namespaces(), reason="no rights to make namespaces, or util-linux and iproute2 are missing"),
]
SCALED, ROLLED, RATE, CLIENTS = "minilm-torchscript", "null", 20.0, 6


def application(found, name):
    [chosen] = [each for each in found["applications"] if each["name"] == name]
    return chosen


def test_nothing_fails_while_a_model_scales_another_rolls_and_a_machine_dies(store, tmp_path):
    wanted = document(tmp_path, store, nodes=3, MODELS="minilm null", VARIANTS="torchscript")
    for name, replicas in ((SCALED, 1), (ROLLED, 2)):
        [options] = application(wanted, name)["deployments"]
        options.pop("autoscaling_config")
        options |= {"num_replicas": replicas, "ray_actor_options": {"num_cpus": 0.5}}
    report = []
    with Cluster(tmp_path) as cluster:
        cluster.deploy(wanted)
        until(lambda: all(each["status"] == "RUNNING" for each in cluster.applications().values()), 240)
        addresses = [each.address for each in cluster.nodes]
        with Load(addresses, "t" * 40, [(SCALED, b"hello world"), (ROLLED, b"hello")], CLIENTS, RATE) as load:

            def told(what):
                report.append(f"{what}: {sum(load.answers.values())} answers, {len(load.failed)} failed, "
                              f"{load.retried} retried, slowest {load.slowest_s:.1f} s")  # fmt: skip
                print(report[-1], flush=True)
                load.slowest_s = 0.0

            time.sleep(8)
            told("at rest")
            [options] = application(wanted, SCALED)["deployments"]
            options["num_replicas"] = 3
            cluster.deploy(wanted)
            until(lambda: len(cluster.replicas(SCALED)) == 3, 180)
            told("scaled from 1 to 3")
            newer = reversioned(store / f"{ROLLED}.mar", tmp_path / "newer", "2.0")
            rolled = document(tmp_path, newer.parent, 3, MODELS="null", VARIANTS="")
            application(wanted, ROLLED)["args"] = application(rolled, ROLLED)["args"]
            cluster.deploy(wanted)
            until(lambda: load.answers[ROLLED, "2.0"] and cluster.applications()[ROLLED]["status"] == "RUNNING", 180)
            before = load.answers[ROLLED, "1.0"]
            time.sleep(3)
            assert load.answers[ROLLED, "1.0"] == before, "the old version answers after the roll"
            told("rolled")
            assert {each["node_ip"] for each in cluster.replicas(SCALED)} >= {addresses[2]}, "the lost machine has none"
            cluster.nodes[2].kill()
            until(lambda: cluster.alive() == 2, 60)
            told("a machine lost")
            until(lambda: len(cluster.replicas(SCALED)) == 3 and len(cluster.replicas(ROLLED)) == 2, 180)
            time.sleep(5)
            told("replaced on the two others")
    print("\n".join(report))
    assert load.failed == []
    assert load.answers[SCALED, "1.0"] > 100 and load.answers[ROLLED, "2.0"] > 100
