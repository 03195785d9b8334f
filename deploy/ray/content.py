"""Turns the body of an HTTP request into the fields that handlers/requests.py reads: decompresses gzip and parses
forms.

Does the work of TorchServe's front end and of serving/front_end/java (Plain, Mislabelled, Form), with the same limits.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from email.message import Message
from urllib.parse import parse_qsl

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Field, File, MultipartDecoder, NeedData

from deploy.ray.refusal import malformed, too_large, unsupported

FORM_PARTS, URLENCODED_BYTES = 1_000, 1 << 16
URLENCODED, MULTIPART, JSON, TEXT = (
    "application/x-www-form-urlencoded", "multipart/form-data", "application/json", "text/plain",
)  # fmt: skip
BINARY = "application/octet-stream"
IMAGES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")
BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
CODINGS = ("gzip", "x-gzip")


def check_coding(codings: list[str]) -> bool:
    """Whether the body is gzip, by its Content-Encoding headers. Raises Refusal for another coding."""
    found = [each.strip().lower() for each in codings]
    if found in ([], ["identity"]):
        return False
    if len(found) != 1 or found[0] not in CODINGS:
        raise unsupported("Content-Encoding can be gzip, once; send the body so, or as it is.")
    return True


def unpacked(body: bytes, most: int) -> bytes:
    """The decompressed body. Raises Refusal if it is damaged or larger than ``most`` bytes."""
    found = b""
    left = body
    try:
        while left:  # a gzip body may have several members
            reader = zlib.decompressobj(wbits=31)
            found += reader.decompress(left, most + 1 - len(found))
            if len(found) > most:
                raise too_large(f"The body has more than {most} bytes (max_request_size).")
            if not reader.eof:
                raise zlib.error
            left = reader.unused_data
    except zlib.error:
        raise malformed("The body is not valid gzip, or is cut short.") from None
    return found


def read(body: bytes, content_type: str) -> tuple[dict[str, bytes], str]:
    """(the fields, the content type): ``{"body": body}`` for a body that is no form. Raises Refusal."""
    message = Message()
    message["Content-Type"] = content_type
    media_type = content_type.split(";")[0].strip().lower()
    if media_type == URLENCODED:
        meant = true_type(body)
        return ({"body": body}, meant) if meant else (distinct(_urlencoded(body)), content_type)
    if media_type == MULTIPART:
        boundary = message.get_param("boundary")
        return distinct(_multipart(body, boundary if isinstance(boundary, str) else "")), content_type
    return {"body": body}, content_type


def true_type(body: bytes) -> str | None:
    """The real type of a body that is labelled a urlencoded form and cannot be one; None if it can be one."""
    if body.lstrip(b" \t\r\n")[:1] == b"{":
        return JSON
    if body.startswith(IMAGES) or (body[:2] == b"BM" and body[6:10] == bytes(4)):
        return BINARY
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return BINARY
    return TEXT if body and body[:1] not in b'["' and not re.search(rb"[=&+%]", body) else None


def _urlencoded(body: bytes) -> list[tuple[str, bytes]]:
    if len(body) > URLENCODED_BYTES:
        raise too_large(
            f"A urlencoded form has at most {URLENCODED_BYTES} bytes; send text with -H 'Content-Type: text/plain', "
            "JSON with -H 'Content-Type: application/json', or a multipart form."
        )
    if body.count(b"&") >= FORM_PARTS:
        raise _too_many()
    if BROKEN_ESCAPE.search(body):
        raise malformed("The form has a % that is no escape; send the text with -H 'Content-Type: text/plain'.")
    pairs = parse_qsl(body.decode("latin-1"), keep_blank_values=True, encoding="latin-1", max_num_fields=FORM_PARTS)
    return [(_name(name.encode("latin-1")), value.encode("latin-1")) for name, value in pairs]


def _multipart(body: bytes, boundary: str) -> list[tuple[str, bytes]]:
    try:
        decoder = MultipartDecoder(boundary.encode("latin-1"), max_parts=FORM_PARTS) if boundary else None
        if decoder is None:
            raise ValueError
        decoder.receive_data(body)
        decoder.receive_data(None)
        return _parts(decoder)
    except RequestEntityTooLarge:
        raise _too_many() from None
    except (ValueError, LookupError):
        raise malformed("The multipart form cannot be read; its boundary is missing, or a part is malformed.") from None


def _parts(decoder: MultipartDecoder) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytearray]] = []
    while True:
        event = decoder.next_event()
        if isinstance(event, (Field, File)):
            found.append((event.name or "", bytearray()))
        elif isinstance(event, Data):
            found[-1][1].extend(event.data)
        elif isinstance(event, NeedData):
            raise ValueError("cut short")
        elif type(event).__name__ == "Epilogue":
            return [(name, bytes(value)) for name, value in found]


def _name(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise malformed("The name of a form's field is not UTF-8 text.") from None


def _too_many() -> Exception:
    return too_large(f"A form has at most {FORM_PARTS} fields or parts.")


def distinct(pairs: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
    """The fields by name. Raises Refusal for a repeated name: the model would see only the last value."""
    found: dict[str, bytes] = {}
    for name, value in pairs:
        if name in found:
            raise malformed("The request has a field twice; send each once, and several items as a list in JSON.")
        found[name] = value
    return found
