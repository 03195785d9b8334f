"""The curl lines that make serve prints, and examples whose files no longer exist."""

import shlex

import pytest

from serving.warm_up import Example
from tests.conftest import ROOT


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
