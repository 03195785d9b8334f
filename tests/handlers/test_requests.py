"""Every wire format gives the same payload. Every malformed request gives a sentence that says how to fix it."""

import gzip
import json

import pytest

from handlers.errors import RequestError, TooLarge
from handlers.requests import Form, Shape, read_payload


def read(body, content_type="application/json", key="text", limit=4):
    return read_payload({"body": body}, content_type, Shape(key=key), limit)


def test_a_raw_body_is_one_item():
    payload = read(b"hello", "text/plain")
    assert (payload.form, payload.raw) == (Form.SINGLE, b"hello")


@pytest.mark.parametrize(
    ("body", "form", "items"),
    [
        (b'{"text": "a"}', Form.SINGLE, ("a",)),
        (b'{"text": ["a", "b"]}', Form.LIST, ("a", "b")),
        (b'{"instances": ["a"]}', Form.INSTANCES, ("a",)),
        (b'{"instances": [{"text": "a"}, {"b64": "b"}]}', Form.INSTANCES, ("a", "b")),
    ],
)
def test_json_forms(body, form, items):
    payload = read(body)
    assert (payload.form, payload.items, payload.raw) == (form, items, None)


def test_json_without_a_content_type_is_recognised():
    assert read(b'{"text": "a"}', None).items == ("a",)


@pytest.mark.parametrize("name", ["image", "data"])
def test_a_form_with_one_field_is_its_content(name):
    assert read_payload({name: bytearray(b"abc")}, None, Shape(key="image"), 4).raw == b"abc"


def form(fields, shape=None, options=("top_k",)):
    return read_payload(fields, None, shape or Shape(key="text", fields=("text", "text_pair")), 4, options)


@pytest.mark.parametrize("name", ["image", "data"])
def test_a_form_may_have_options_beside_the_item(name):
    payload = form({"top_k": b"3", name: b"abc"}, Shape(key="image"))
    assert (payload.raw, payload.options) == (b"abc", {"top_k": b"3"})


def test_a_form_with_every_part_of_an_item_is_that_item():
    payload = form({"text_pair": bytearray("é".encode()), "text": b"{a", "top_k": b"1"})
    assert (payload.form, payload.raw, payload.items) == (Form.SINGLE, None, ({"text": "{a", "text_pair": "é"},))
    assert payload.options == {"top_k": b"1"}
    asked = form({"question": b"Who?", "context": "Tom"}, Shape(fields=("question", "context")))
    assert asked.items == ({"question": "Who?", "context": "Tom"},)


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({"text": b"a", "topk": b"3"}, None),
        ({"text": b"a", "textpair": b"b"}, None),
        ({"text": b"a", "text_pair": b"b", "topk": b"3"}, None),
        ({"data": b"a", "text_pair": b"b"}, None),
        ({"text": b"a", "data": b"b"}, None),
        ({"image": b"abc", "note": b"x"}, Shape(key="image", fields=("text", "text_pair"))),
    ],
)
def test_an_unknown_field_is_refused_with_the_known_ones(fields, shape):
    with pytest.raises(RequestError) as refused:
        form(fields, shape)
    known = f"{'image, ' if shape else ''}text, text_pair, top_k"
    assert str(refused.value) == f"The form has a field that this model does not know; it knows: {known}."


@pytest.mark.parametrize(
    "fields",
    [
        {"words": b"a", "pair": b"b"},
        {"upload": b"abc"},
        {'{"text": "1 1': b'2"}'},  # curl -d '{"text": "1+1=2"}'
        {"E ": b" mc2"},
        {"Hello world": ""},
        {"text": b""},
        {"top_k": b"3"},
    ],
)
def test_the_error_for_a_form_without_an_item_names_the_header_to_add(fields):
    with pytest.raises(RequestError) as refused:
        form(fields)
    assert str(refused.value).startswith(
        ('The form has no field "text" or "data" with content', "The request has no r")
    )
    assert "-H 'Content-Type: text/plain'" in str(refused.value)


@pytest.mark.parametrize("value", [b"\xff", "\ud800"])
def test_a_part_that_is_not_utf_8_is_refused_by_its_name(value):
    with pytest.raises(RequestError, match='The field "text_pair" is not UTF-8 text'):
        form({"text": b"a", "text_pair": value})


def test_the_field_that_names_the_model_to_torchserve_is_no_input():
    assert form({"model_name": b"topics", "text": b"a"}).raw == b"a"


@pytest.mark.parametrize(("value", "kind"), [(7, "a number"), (True, "a boolean"), (None, "null"), ([1], "a list")])
def test_a_field_that_torchserve_decoded_to_another_type_is_refused(value, kind):
    with pytest.raises(RequestError, match=f"is {kind}; expected an object"):
        form({"text": value})


@pytest.mark.parametrize("text", [b"[MASK] is a city.", b"[1]", b'{"text": "a"}', b"{", b"[CLS]"])
def test_a_field_with_the_items_name_is_never_parsed_as_json(text):
    assert form({"text": text}).raw == text
    assert form({"image": text}, Shape(key="image")).raw == text


def test_the_field_data_is_read_like_a_body():
    assert form({"data": b"X marks the place."}).raw == b"X marks the place."
    assert form({"data": b'{"text": ["a", "b"]}'}).items == ("a", "b")
    with pytest.raises(RequestError, match=r"not valid JSON.*text that begins so with Content-Type: text/plain"):
        form({"data": b"[MASK] is a city."})


PAIR = Shape(key="text", fields=("text", "text_pair"))
RANKED = Shape(fields=("query", "texts"))


@pytest.mark.parametrize(
    ("body", "shape", "says"),
    [
        ({"text": "a", "note": "b"}, PAIR, 'The JSON body has another key besides "text"; leave it out.'),
        ({"text": "a", "textpair": "b"}, PAIR, 'besides "text"; did you mean "text_pair"'),
        ({"text": "a", "parameter": {"top_k": 1}}, PAIR, 'did you mean "parameters" by "parameter"?'),
        ({"text": "a", "instances": ["b"]}, PAIR, 'The JSON body has another key besides "instances"'),
        ({"text": "a", "text_pair": "b", "c": 1}, PAIR, 'another key besides "text" and "text_pair"'),
        ({"query": "a", "texts": ["b"], "documents": ["c"]}, RANKED, 'another key besides "query" and "texts"'),
        ({"instances": ["a", {"text": "a", "note": 1}]}, PAIR, 'Instance 1 has another key besides "text"'),
        ({"instances": [{"text": "a", "b64": "b"}]}, PAIR, 'Instance 0 has another key besides "text"'),
        ({"instances": [{"text": "a", "text_pair": "b", "c": 1}]}, PAIR, "Instance 0 has another key besides"),
        ({"instances": [{"query": "a", "texts": [], "c": 1}]}, RANKED, "Instance 0 has another key besides"),
        ({"instances": [{"texts": "a"}]}, PAIR, 'Instance 0 has no "text"; did you mean "text" by "texts"?'),
        ({"instances": [{"inputs": "a"}]}, PAIR, 'Instance 0 has no "text"; did you mean "text" by "inputs"?'),
        ({"instances": [{}]}, PAIR, 'Instance 0 has no "text"; expected UTF-8 text'),
        ({"instances": ["a"], "signature_name": "b"}, PAIR, 'besides "instances"; leave it out.'),
        ({"text": [{"text": "a", "text_pair": "b"}, {"text": "", "text_pair": "", "c": 1}]}, PAIR, "Item 1 has"),
        ({"text": {"text": "a", "text_pair": "b", "c": 1}}, PAIR, "Item 0 has another key besides"),
    ],
)  # fmt: skip
def test_a_key_that_would_be_ignored_is_refused(body, shape, says):
    with pytest.raises(RequestError) as refused:
        read_payload({"body": json.dumps(body).encode()}, "application/json", shape, 4)
    assert says in str(refused.value)


def test_the_options_may_stand_beside_each_form_of_items():
    given = {"parameters": {"top_k": 1}}
    for items in ({"text": "a"}, {"text": ["a"]}, {"instances": ["a", {"text": "a", "text_pair": "b"}]},
                  {"text": "a", "text_pair": "b"}):  # fmt: skip
        body = json.dumps({**items, **given}).encode()
        assert read_payload({"body": body}, "application/json", PAIR, 4).options == {"top_k": 1}


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        (b"", RequestError, "empty"),
        (b"{", RequestError, "not valid JSON"),
        (b'{"text": NaN}', RequestError, "not valid JSON"),
        (b'{"text": "\\ud800"}', RequestError, "not valid JSON"),
        (b'{"words": "a"}', RequestError, 'no "text"'),
        (b"[1]", RequestError, "a list; expected an object"),
        (b"7", RequestError, "a number; expected an object"),
        (b'{"text": []}', RequestError, "list is empty"),
        (b'{"instances": "a"}', RequestError, "expected a list"),
        (b'{"text": ["a","b","c","d","e"]}', TooLarge, "at most 4"),
    ],
)
def test_malformed_bodies_name_what_was_expected(body, error, says):
    with pytest.raises(error, match=says):
        read(body)


@pytest.mark.parametrize(
    ("body", "key", "fields", "says"),
    [
        (b'{"inputs": "a"}', "text", (), 'did you mean "text" by "inputs"\\? Send UTF-8 text, or JSON'),
        (b'{"texts": ["a"]}', "text", (), 'did you mean "text" by "texts"'),
        (b'{"images": "a"}', "image", (), 'did you mean "image" by "images"'),
        (b'{"contexts": "a", "question": "b"}', "", ("question", "context"), 'did you mean "context" by "contexts"'),
        (b'{"zzz": "a"}', "text", (), 'no "instances"; send UTF-8'),
    ],
)
def test_the_error_for_a_misspelt_key_suggests_the_right_one(body, key, fields, says):
    with pytest.raises(RequestError, match=says):
        read_payload({"body": body}, "application/json", Shape(key=key, fields=fields), 4)


def test_an_option_outside_parameters_is_refused():
    with pytest.raises(RequestError, match='"top_k" is an option; send it as'):
        read_payload({"body": b'{"text": "a", "top_k": 1}'}, "application/json", Shape(key="text"), 4, ("top_k",))


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", None])
def test_gzip_without_its_header_is_refused(content_type):
    with pytest.raises(RequestError) as refused:
        read(gzip.compress(b"hello"), content_type)
    cure = "send the header Content-Encoding: gzip."
    assert str(refused.value) == f"The body is gzip, but no header says so; {cure}"


def test_the_error_for_an_item_of_several_parts_says_how_to_send_it():
    with pytest.raises(RequestError, match='no field "question" and "context" with content'):
        read_payload({"hello": ""}, None, Shape(fields=("question", "context")), 4)


def test_no_body_at_all():
    with pytest.raises(RequestError, match="no readable body"):
        read_payload({}, None, Shape(key="image"), 4)


def test_deep_nesting_is_refused_not_overflowed():
    with pytest.raises(RequestError):
        read(b'{"text":' * 100_000)
