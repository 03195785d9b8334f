"""The buffered reader returns what TorchServe's own reader returns, however the bytes arrive."""

import socket
import struct
import threading
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ts.protocol import otf_message_handler

from handlers import worker_protocol
from handlers.worker_protocol import Reader

END = struct.pack("!i", -1)
short = st.binary(max_size=40)
name = st.text(max_size=12).map(str.encode)
header = st.tuples(short, short)
parameter = st.tuples(name, name, st.binary(max_size=300))
request = st.tuples(short, st.lists(header, max_size=9), st.lists(parameter, max_size=3))
messages = st.lists(st.lists(request, max_size=4), min_size=1, max_size=3)


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
    """A connection that hands its bytes over in pieces of the sizes given, then in whole."""

    def __init__(self, data, sizes=()):
        self.data, self.sizes = data, list(sizes)

    def recv(self, most):
        most = min(most, self.sizes.pop(0)) if self.sizes else most
        piece, self.data = self.data[:most], self.data[most:]
        return piece


@given(messages, st.lists(st.integers(1, 50), max_size=60))
@settings(max_examples=150, deadline=None)
def test_messages_are_those_of_torchserves_own_reader(sent, sizes):
    data = b"".join(encoded(each) for each in sent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TS_DECODE_INPUT_REQUEST", "false")
        reader, theirs = Reader(Pieces(data, sizes)), Pieces(data)
        for _ in sent:
            assert reader.message() == otf_message_handler.retrieve_msg(theirs)
        for gone in (reader.message, lambda: otf_message_handler.retrieve_msg(theirs)):
            with pytest.raises(SystemExit):
                gone()


def test_a_body_of_many_reads_comes_whole_through_a_socket():
    body = bytes(range(256)) * 20_000
    ours, front_end = socket.socketpair()
    with ours, front_end:
        sender = threading.Thread(target=front_end.sendall, args=(encoded([(b"id", [], [(b"body", b"", body)])]),))
        sender.start()
        reader = Reader(ours)
        command, (received,) = reader.message()
        sender.join()
    assert command == b"I" and received["parameters"][0]["value"] == body
    assert not reader._held  # a worker that waits does not keep what it has read


def test_a_load_message_is_refused():
    with pytest.raises(ValueError, match="b'L'"):
        Reader(Pieces(b"L" + field(b"model"))).message()


def program(file, **names):
    module = ModuleType("__main__")
    module.__file__ = file
    for key, value in names.items():
        setattr(module, key, value)
    return module


def test_only_torchserves_worker_is_changed(caplog):
    other = program("/project/export/__main__.py", retrieve_msg=len)
    assert not worker_protocol.install(other) and other.retrieve_msg is len
    assert not worker_protocol.install(ModuleType("__main__"))
    assert not caplog.text
    assert not worker_protocol.install(program("/ts/model_service_worker.py")) and "slower reader" in caplog.text


def test_a_new_connection_starts_with_an_empty_buffer():
    worker = program("/ts/model_service_worker.py", retrieve_msg=len)
    assert worker_protocol.install(worker)
    first, second = Pieces(encoded([]) + b"I"), Pieces(encoded([]))
    assert worker.retrieve_msg(first) == (b"I", [])
    assert worker.retrieve_msg(second) == (b"I", [])
