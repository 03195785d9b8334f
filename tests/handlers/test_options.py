"""The options of a request, from "parameters" in JSON or from the query string, and the values that they refuse."""

import pytest

from handlers.errors import RequestError, UnsupportedMediaType
from handlers.options import Number, OneOf, Whole, read_options
from handlers.requests import Form, Shape, read_payload

OPTIONS = {"top_k": Whole(1, 100), "mode": OneOf(("all", "first"))}
DEFAULTS = {"top_k": 5}
TEXT = Shape(key="text")
PAIR = Shape(key="text", fields=("text", "text_pair"))
RANKING = Shape(fields=("query", "texts"))


def read(request, content_type="application/json", shape=TEXT):
    return read_payload(request, content_type, shape, 4, OPTIONS)


@pytest.mark.parametrize(
    "request_",
    [
        {"body": b'{"text": "a", "parameters": {"top_k": 2, "mode": "all"}}'},
        {"body": {"text": "a", "parameters": {"top_k": 2, "mode": "all"}}},  # decoded by TorchServe
        {"top_k": "2", "mode": "all", "body": b'{"text": "a"}'},
        {"top_k": b"2", "mode": b"all", "body": b'{"text": "a"}'},
        {"top_k": "9", "mode": "all", "body": b'{"text": "a", "parameters": {"top_k": "2"}}'},  # the body overrides
    ],
)
def test_options_come_in_the_body_or_in_the_query_string(request_):
    payload = read(request_)
    assert payload.items == ("a",)
    assert read_options(OPTIONS, payload.options, DEFAULTS) == {"top_k": 2, "mode": "all"}


def test_a_raw_body_and_a_form_take_the_query_string_as_well():
    payload = read({"top_k": "2", "body": b"a text"}, "text/plain")
    assert (payload.raw, payload.options) == (b"a text", {"top_k": "2"})
    assert read({"top_k": "2", "data": b"a text"}, None).raw == b"a text"


def test_without_options_the_defaults_hold():
    payload = read({"body": b'{"instances": ["a"]}'})
    assert read_options(OPTIONS, payload.options, DEFAULTS) is DEFAULTS


@pytest.mark.parametrize("value", [0, 101, -1, 1.5, True, None, "", "two", "1_0", "٣", b"\xff", [2], "9" * 5000])
def test_an_integer_option_refuses_other_values(value):
    with pytest.raises(RequestError, match='"top_k" must be a whole number from 1 to 100'):
        read_options(OPTIONS, {"top_k": value}, DEFAULTS)


@pytest.mark.parametrize("value", ["none", 1, None, b"\xff", ["all"]])
def test_a_choice_refuses_unknown_values(value):
    with pytest.raises(RequestError, match='"mode" must be one of all, first'):
        read_options(OPTIONS, {"mode": value}, DEFAULTS)


def test_an_error_for_an_unknown_option_lists_the_known_ones_and_does_not_quote_it():
    with pytest.raises(RequestError, match="it knows: top_k, mode") as refused:
        read_options(OPTIONS, {"secret": 1}, DEFAULTS)
    assert "secret" not in str(refused.value)
    with pytest.raises(RequestError, match="it knows: none"):
        read_options({}, {"top_k": 1}, {})


@pytest.mark.parametrize("value", [b"7", b"[]", b'"top_k"', b"null"])
def test_parameters_must_be_an_object(value):
    with pytest.raises(RequestError, match=r'"parameters" is .*; expected an object'):
        read({"body": b'{"text": "a", "parameters": ' + value + b"}"})


@pytest.mark.parametrize(
    ("body", "form", "items"),
    [
        ({"text": "a", "text_pair": "b"}, Form.SINGLE, ({"text": "a", "text_pair": "b"},)),
        ({"text": ["a", {"text": "a", "text_pair": "b"}]}, Form.LIST, ("a", {"text": "a", "text_pair": "b"})),
        ({"instances": [{"text": "a", "text_pair": "b"}, {"text": "a"}]}, Form.INSTANCES,
         ({"text": "a", "text_pair": "b"}, "a")),
    ],
)  # fmt: skip
def test_pairs_are_items_in_every_form(body, form, items):
    payload = read({"body": body}, shape=PAIR)
    assert (payload.form, payload.items) == (form, items)


def test_a_task_whose_items_have_parts_takes_no_raw_body():
    with pytest.raises(UnsupportedMediaType, match=r'takes no raw body; send as JSON .*"query": ..., "texts": ...'):
        read({"body": b"a text"}, "text/plain", RANKING)
    with pytest.raises(RequestError, match='no "query" and "texts" and no "instances"'):
        read({"body": b'{"text": "a"}'}, shape=RANKING)


@pytest.mark.parametrize(("value", "expected"), [(0, 0.0), ("0.25", 0.25), (b"1", 1.0), (0.5, 0.5)])
def test_a_number_option_takes_a_number_or_its_digits(value, expected):
    assert Number(0, 1).read("threshold", value) == expected


@pytest.mark.parametrize("value", [-0.1, "2", True, None, [], "nan", "half", b"\xff", 10**400])
def test_a_number_option_refuses_other_values(value):
    with pytest.raises(RequestError, match='"threshold" must be a number from 0 to 1'):
        Number(0, 1).read("threshold", value)
