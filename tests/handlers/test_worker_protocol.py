"""Messages are read and written as by TorchServe's own worker, for every division of the bytes."""

import socket
import string
import struct
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ts.context import Context, RequestProcessor
from ts.protocol import otf_message_handler
from ts.service import Service

from handlers.worker_protocol import Reader, answers, failure

END = struct.pack("!i", -1)
short = st.binary(max_size=40)
name = st.text(max_size=12).map(str.encode)
header = st.tuples(name, name)
parameter = st.tuples(name, name, st.binary(max_size=300))
request = st.tuples(name, st.lists(header, max_size=9), st.lists(parameter, max_size=3))
messages = st.lists(st.lists(request, max_size=4), min_size=1, max_size=3)
answer = st.fixed_dictionaries({
    "identity": name, "body": st.binary(max_size=300),
    "status": st.integers(200, 599), "phrase": st.text(string.ascii_letters),
    "headers": st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=4), "typed": st.booleans(),
})  # fmt: skip


def field(value):
    return struct.pack("!i", len(value)) + value


def encoded(requests):
    out = b"I"
    for identity, headers, parameters in requests:
        out += field(identity)
        out += b"".join(field(each) for pair in headers for each in pair) + END
        out += b"".join(field(each) for parts in parameters for each in parts) + END
    return out + END


class Pieces:
    """A connection that delivers its bytes in pieces of the given sizes, and then the rest."""

    def __init__(self, data, sizes=()):
        self.data, self.sizes = data, list(sizes)

    def recv(self, most):
        most = min(most, self.sizes.pop(0)) if self.sizes else most
        piece, self.data = self.data[:most], self.data[most:]
        return piece


@given(messages, st.lists(st.integers(1, 50), max_size=60))
@settings(max_examples=150, deadline=None)
def test_messages_are_read_as_by_torchserves_own_reader(sent, sizes):
    data = b"".join(encoded(each) for each in sent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TS_DECODE_INPUT_REQUEST", "false")
        reader, theirs = Reader(Pieces(data, sizes)), Pieces(data)
        for _ in sent:
            (command, ours), (expected, requests) = reader.message(), otf_message_handler.retrieve_msg(theirs)
            headers, inputs, identities = Service.retrieve_data_for_inference(requests)
            assert command == expected and [each.inputs for each in ours] == inputs
            assert [each.headers for each in ours] == [each.get_request_properties() for each in headers]
            assert [each.identity.decode() for each in ours] == list(identities.values())
        for gone in (reader.message, lambda: otf_message_handler.retrieve_msg(theirs)):
            with pytest.raises(SystemExit):
                gone()


@given(st.lists(answer, max_size=4))
@settings(max_examples=150, deadline=None)
def test_answers_have_the_bytes_of_torchserves_own(made):
    context = Context("model", "", {}, 1, None, "")
    context.request_processor = [RequestProcessor({}) for _ in made]
    for row, each in enumerate(made):
        for key, value in each["headers"].items():
            context.set_response_header(row, key, value)
        if each["typed"]:
            context.set_response_content_type(row, "application/json")
            context.set_response_status(each["status"], each["phrase"], row)
    bodies, identities = (
        [each["body"] for each in made],
        {row: each["identity"].decode() for row, each in enumerate(made)},
    )
    theirs = otf_message_handler.create_predict_response(bodies, identities, "Prediction success", 200, context)
    assert answers([each["identity"] for each in made], context.request_processor, bodies) == theirs


@given(st.lists(name, max_size=4), st.integers(400, 599), st.text(max_size=9))
@settings(max_examples=50, deadline=None)
def test_failures_have_the_bytes_of_torchserves_own(identities, code, message):
    named = {row: each.decode() for row, each in enumerate(identities)}
    assert failure(identities, code, message) == otf_message_handler.create_predict_response(None, named, message, code)


def test_bodies_of_many_reads_are_complete():
    bodies = [bytes(range(256)) * 20_000, b"", b"x" * 3_000_000]
    ours, front_end = socket.socketpair()
    sent = encoded([(b"id", [(b"a", b"b")], [(b"body", b"", body)]) for body in bodies])
    with ours, front_end:
        sender = threading.Thread(target=front_end.sendall, args=(sent,))
        sender.start()
        reader = Reader(ours)
        command, received = reader.message()
        sender.join()
    assert command == b"I" and [each.inputs["body"] for each in received] == bodies
    assert not reader._held  # a waiting worker keeps no bodies


def test_a_load_message_is_refused():
    with pytest.raises(ValueError, match="b'L'"):
        Reader(Pieces(b"L" + field(b"model"))).message()
