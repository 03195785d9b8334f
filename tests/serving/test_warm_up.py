"""The requests that warm up a server, the curl lines that make serve prints, and examples whose files no longer
exist."""

import shlex
from collections import Counter

import pytest

from serving.errors import ServingError
from serving.warm_up import COLD_REQUESTS, REQUESTS, Example, warm_up
from tests.conftest import ROOT
from tsi_client import Reply


class Answering:
    """A client of a server that answers at once. ``asked`` counts the predictions of each archive."""

    def __init__(self, status=200):
        self.asked, self.status = Counter(), status

    def describe(self, name):
        example = {"content_type": "image/png", "file": "no/such.png"} if name == "moved" else {"text": name}
        return {"customizedMetadata": {"example": example}}

    def predict(self, name, body, content_type):
        assert body == name.encode()
        self.asked[name] += 1
        return Reply(self.status, {}, b"fine")


def test_one_archive_warms_up_the_front_end_and_each_other_gets_some_requests():
    client = Answering()
    found = warm_up(client, ["moved", "a", "b", "c"])
    assert client.asked == {"a": COLD_REQUESTS, "b": REQUESTS, "c": REQUESTS}
    assert {name: example.answer for name, example in found.items()} == {"moved": "", "a": "fine", "b": "fine",
                                                                         "c": "fine"}  # fmt: skip


def test_an_archive_that_does_not_answer_its_example_is_named():
    with pytest.raises(ServingError, match="b answers its own example with 500: fine"):
        warm_up(Answering(500), ["b"])


@pytest.mark.parametrize("text", ["plain", "What's new?", "@file", '{"question": "Who\'s there?"}', "$HOME `ls`"])
def test_a_shell_reads_the_example_as_it_is(text):
    words = shlex.split(Example("text/plain", text).curl("http://127.0.0.1/predictions/x", "token"))
    assert words[words.index("--data-raw") + 1] == text


def test_an_answer_is_shown_on_one_line_and_cut_where_it_is_long():
    assert Example("text/plain", "a", answer='{\n  "predictions": []\n}').shown_answer() == '# { "predictions": [] }'
    long = Example("text/plain", "a", answer=f'{{"embedding":[{"0.5, " * 99}]}}').shown_answer()
    assert long.startswith('# {"embedding":[0.5, 0.5') and long.endswith(" ...") and len(long) < 120
    assert Example("text/plain", "a").shown_answer() == ""


def test_a_file_with_a_blank_in_its_name_is_one_word(tmp_path):
    path = tmp_path / "my rose.jpg"
    path.write_bytes(b"x")
    example = Example("image/jpeg", file=str(path))
    words = shlex.split(example.curl("http://127.0.0.1/predictions/x", "token"))
    assert words[words.index("-T") + 1] == str(path) and example.is_here()
    path.unlink()
    assert not example.is_here()


def test_a_file_of_the_checkout_is_named_so_that_a_shell_in_the_current_folder_finds_it(monkeypatch, tmp_path):
    example = Example("image/png", file="handlers/samples/seven.png")
    monkeypatch.chdir(ROOT)
    assert " -T handlers/samples/seven.png " in example.curl("http://127.0.0.1/predictions/x", "token")
    monkeypatch.chdir(tmp_path)
    assert f" -T {ROOT}/handlers/samples/seven.png " in example.curl("http://127.0.0.1/predictions/x", "token")
