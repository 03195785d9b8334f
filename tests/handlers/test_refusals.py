"""The exact messages of refused requests, and the bodies, types and keys that lead to them."""

import json

import pytest

from handlers.errors import RequestError, TooLarge, UnsupportedMediaType
from handlers.requests import Form, Shape, content_type_of, kind_of, read_payload

JSON_TYPE = "as JSON with -H 'Content-Type: application/json': "
AS_TEXT = 'UTF-8 text, or JSON {"text": ...} or {"instances": [...]}'
AS_PAIR = 'UTF-8 text, or JSON {"text": ...}, {"text": ..., "text_pair": ...} or {"instances": [...]}'
AS_IMAGE = 'the bytes of a JPEG, PNG, WebP, GIF or BMP, or JSON {"image": ...} or {"instances": [...]}'
AS_RANKED = 'JSON {"query": ..., "texts": ...} or {"instances": [{"query": ..., "texts": ...}, ...]}'
IMAGE, TEXT = Shape(key="image"), Shape(key="text")
PAIR, RANKED = Shape(key="text", fields=("text", "text_pair")), Shape(fields=("query", "texts"))


def read(body, content_type="application/json"):
    return read_payload({"body": body}, content_type, TEXT, 4)


@pytest.mark.parametrize(
    ("shape", "expected", "how", "named"),
    [
        (TEXT, AS_TEXT, "raw with -H 'Content-Type: text/plain', or ", '"text" or "data"'),
        (PAIR, AS_PAIR, "raw with -H 'Content-Type: text/plain', or ", '"text" or "data"'),
        (IMAGE, AS_IMAGE, "raw with curl -X POST -T file, or ", '"image" or "data"'),
        (RANKED, AS_RANKED, "", '"query" and "texts"'),
    ],
)
def test_a_shape_says_what_to_send_and_how(shape, expected, how, named):
    assert shape.expected() == expected
    assert shape.how() == how + JSON_TYPE + expected
    assert shape.named() == named


def test_the_keys_of_an_item_are_named_once():
    assert (PAIR.names, RANKED.names, Shape().names) == (("text", "text_pair"), ("query", "texts"), ())


def said(request, content_type="application/json", shape=TEXT, options=()):
    """The class and the message of a request's error."""
    with pytest.raises(RequestError) as refused:
        read_payload(request, content_type, shape, 4, options)
    return type(refused.value), str(refused.value)


@pytest.mark.parametrize(
    ("body", "shape", "sentence"),
    [
        (b"", IMAGE, f"The request body is empty; send {AS_IMAGE}."),
        (b"[1]", TEXT, f"The JSON body is a list; expected an object: {AS_TEXT}."),
        (b'{"text": []}', TEXT, "The list is empty; send at least one item."),
        (b'{"instances": {}}', TEXT, '"instances" is an object; expected a list.'),
        (b'{"text": "a", "parameters": 3}', TEXT, '"parameters" is a number; expected an object.'),
        (b'{"top_k": 3}', TEXT, '"top_k" is an option; send it as {"parameters": {"top_k": ...}}.'),
        (b"{}", TEXT, f'The JSON body has no "text" and no "instances"; send {AS_TEXT}.'),
        (b'{"query": "a"}', RANKED, f'The JSON body has no "query" and "texts" and no "instances"; send {AS_RANKED}.'),
        (b'{"texts": 1}', TEXT,
         f'The JSON body has no "text" and no "instances"; did you mean "text" by "texts"? Send {AS_TEXT}.'),
        (b'{"text": "a", "textpair": "b"}', PAIR,
         'The JSON body has another key besides "text"; did you mean "text_pair" by "textpair"?'),
        (b'{"text": "a", "text_pair": "b", "note": 1}', PAIR,
         'The JSON body has another key besides "text" and "text_pair"; leave it out.'),
        (b'{"instances": [{"note": 1}]}', TEXT, f'Instance 0 has no "text"; expected {AS_TEXT}.'),
        (b'{"text": "a"', TEXT, "The body is not valid JSON: unexpected end of data: line 1 column 13 (char 12)."),
    ],
)  # fmt: skip
def test_the_sentence_of_a_refusal(body, shape, sentence):
    assert said({"body": body}, shape=shape, options=("top_k",)) == (RequestError, sentence)


def test_too_many_items_are_counted():
    refused = said({"body": b'{"text": ["a", "b", "c", "d", "e"]}'})
    assert refused == (TooLarge, "The request has 5 items; at most 4 are accepted: split it.")
    assert len(read(b'{"text": ["a", "b", "c", "d"]}').items) == 4


def test_a_raw_body_for_an_item_with_parts_is_an_unsupported_media_type():
    sentence = f"This model takes no raw body; send {JSON_TYPE}{AS_RANKED}."
    assert said({"body": b"a"}, "text/plain", RANKED) == (UnsupportedMediaType, sentence)


@pytest.mark.parametrize(
    ("request_", "shape", "sentence"),
    [
        ({}, RANKED,
         f"The request has no readable body (curl -d calls any body a form); send it {JSON_TYPE}{AS_RANKED}"),
        ({"a": b"b"}, RANKED, 'The form has no field "query" and "texts" with content; curl -d calls any body a form: '
                              f"send yours {JSON_TYPE}{AS_RANKED}"),
        ({"": b"b"}, RANKED, 'The form has no field "query" and "texts" with content; curl -d calls any body a form: '
                              f"send yours {JSON_TYPE}{AS_RANKED}"),
    ],
)  # fmt: skip
def test_the_sentence_for_a_form_without_an_item(request_, shape, sentence):
    assert said(request_, None, shape) == (RequestError, sentence + ".")


def test_a_form_with_only_an_option_is_refused():
    refused = said({"top_k": b"3"}, None, TEXT, ("top_k",))
    assert refused[1].startswith('The form has no field "text" or "data" with content; curl -d calls')


def test_a_part_that_is_not_text_is_named_in_the_error():
    sentence = 'The field "query" is not UTF-8 text; encode it as UTF-8.'
    assert said({"query": b"\xff", "texts": b"a"}, None, RANKED) == (RequestError, sentence)


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", " application/json ;a;b"]
)
def test_the_media_type_is_read_without_its_parameters_and_case(content_type):
    assert read(b'{"text": "a"}', content_type).items == ("a",)
    assert said({"body": b"a"}, content_type)[1].startswith("The body is not valid JSON")


def test_a_text_that_begins_like_json_is_text_with_the_type_text_plain():
    assert read(b'{"text": "a"}', "text/plain").raw == b'{"text": "a"}'
    for body in (b"[MASK] is a city.", b"{"):
        cure = "; send a text that begins so with Content-Type: text/plain."
        assert said({"body": body}, None)[1].endswith(cure)
        assert not said({"body": body}, "application/json")[1].endswith(cure)
        assert not said({"body": body}, None, IMAGE)[1].endswith(cure)


def test_a_body_of_text_is_read_as_its_bytes():
    """TorchServe may pass a decoded body, also with half a surrogate pair."""
    assert read("caf\u00e9", "text/plain").raw == "caf\u00e9".encode()
    assert read("\ud800", "text/plain").raw == b"\xed\xa0\x80"
    assert read(bytearray(b"a"), "text/plain").raw == b"a" and type(read(bytearray(b"a"), "text/plain").raw) is bytes


def test_a_field_that_torchserve_decoded_is_unchanged():
    payload = read_payload({"query": {"a": 1}, "texts": ["b"]}, None, RANKED, 4)
    assert payload.items == ({"query": {"a": 1}, "texts": ["b"]},)


def test_options_of_the_body_override_those_of_the_query_string():
    request = {"body": b'{"text": "a", "parameters": {"top_k": 3, "mode": "x"}}', "top_k": "1", "other": "2"}
    assert read_payload(request, "application/json", TEXT, 4, ("top_k", "mode")).options == {"top_k": 3, "mode": "x"}
    asked = read_payload({"body": b"a", "top_k": "1"}, "text/plain", TEXT, 4, ("top_k",))
    assert (asked.form, asked.raw, asked.items, asked.options) == (Form.SINGLE, b"a", (), {"top_k": "1"})


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"body": {"content-type": "text/plain"}}, "text/plain"),
        ({"body": {}}, None),
        ({"body": "a form's field"}, None),
        ({}, None),
        ({"content-type": "text/plain"}, None),
    ],
)
def test_the_content_type_is_that_of_the_body(headers, found):
    assert content_type_of(headers) == found


@pytest.mark.parametrize(
    ("value", "kind"),
    [({}, "an object"), ([], "a list"), ("a", "a string"), (True, "a boolean"), (None, "null"), (1, "a number"),
     (1.5, "a number")],
)  # fmt: skip
def test_the_type_of_a_value_has_its_json_name(value, kind):
    assert kind_of(value) == kind


def test_a_suggestion_considers_the_first_ten_short_keys():
    def asked(*keys):
        return "did you mean" in said({"body": json.dumps(dict.fromkeys(keys, "a")).encode()})[1]

    others = [f"{at}xxxxx" for at in range(10)]
    assert asked(*others[:9], "texts") and not asked(*others, "texts")
    assert asked("x" * 20, *others[:9], "texts")  # the long one is not among the ten
    assert asked("prompt") and not asked("xxxxxx")


def test_an_instance_may_be_the_items_value_or_an_object_with_it():
    body = b'{"instances": [1, null, {"text": {"a": 1}}, {"b64": "b"}, {"text": "a", "text_pair": "b"}]}'
    found = read_payload({"body": body}, "application/json", PAIR, 9)
    assert found.items == (1, None, {"a": 1}, "b", {"text": "a", "text_pair": "b"})


def test_an_instance_without_a_part_is_left_to_the_task():
    body = b'{"instances": [{"query": "a"}]}'
    assert read_payload({"body": body}, "application/json", RANKED, 9).items == ({"query": "a"},)
