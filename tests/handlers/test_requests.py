"""Every wire format becomes the same payload; every malformed one a sentence that names the cure."""

import pytest

from handlers.errors import RequestError, TooLarge, UnsupportedMediaType
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


def test_a_form_with_one_field_is_its_content():
    assert read_payload({"upload": bytearray(b"abc")}, None, Shape(key="image"), 4).raw == b"abc"


def test_of_several_fields_the_named_one_counts():
    assert read_payload({"note": b"x", "image": b"abc"}, None, Shape(key="image"), 4).raw == b"abc"


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


def test_curl_d_without_a_type_is_told_how_to_send_text():
    with pytest.raises(UnsupportedMediaType, match="Content-Type: text/plain"):
        read_payload({"Hello world": ""}, None, Shape(key="text"), 4)


def test_no_body_at_all():
    with pytest.raises(RequestError, match="no readable body"):
        read_payload({}, None, Shape(key="image"), 4)


def test_deep_nesting_is_refused_not_overflowed():
    with pytest.raises(RequestError):
        read(b'{"text":' * 100_000)
