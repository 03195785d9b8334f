"""Options through a real TorchServe: in the body, or in the query string of the paths where TorchServe passes it to the
worker."""

import pytest
import requests

from tests.trust.own import serving_null

pytestmark = pytest.mark.served
NAME, TEXT = "topics-torchscript", b"The rain will stop tonight."


def test_top_k_in_the_body_and_in_the_query_string(ask, topics, tmp_path):
    ask("text-classification", topics, [])

    def post(path, body=TEXT, content_type="text/plain"):
        headers = {"Content-Type": content_type, "Authorization": f"Bearer {served.client.token()}"}
        return requests.post(f"{served.config.inference}/{path}", data=body, headers=headers, timeout=60)

    with serving_null(tmp_path / "store", tmp_path, {}) as served:
        everything = post(f"predictions/{NAME}").json()["predictions"]
        in_body = b'{"text": "The rain will stop tonight.", "parameters": {"top_k": 2}}'
        two = [
            post(f"predictions/{NAME}", in_body, "application/json"),
            post(f"{NAME}/predict?top_k=2"),
            post(f"invocations?model_name={NAME}&top_k=2"),
        ]
        wrong = post(f"{NAME}/predict?top_k=none")
        dropped = post(f"predictions/{NAME}?top_k=2")
    assert [each["label"] for each in everything] == ["weather", "sport", "food"]
    assert [reply.json()["predictions"] for reply in two] == [everything[:2]] * 3
    assert (wrong.status_code, wrong.json()["message"]) == (400, '"top_k" must be a whole number from 1 to 1000.')
    # TorchServe 0.12 does not pass the query string of this path. If this changes, the documentation has to change.
    assert dropped.json()["predictions"] == everything
