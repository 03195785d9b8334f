"""Corrects TorchServe's front end where a setting cannot: with classes of our own, and by names exchanged in its own.

Java finds the corrected classes first, since TorchServe's class path begins with its working directory, our private run
folder. All of this fits TorchServe 0.12.0; where a class looks otherwise, nothing is corrected.

*Classes of our own* (``java/``, compiled into ``front_end.jar``). ServerInitializer puts TorchServe's request handlers
behind two of ours: Framing takes HTTP/1.1 to the letter and nothing else, and Gate looks at a request's token, length
and form before its body is read, bounds the bytes that all requests hold together and the connections that are open,
and closes connections in good order. Answering answers whatever goes wrong while a request is read with 400.

*Names exchanged* (CORRECTIONS). ApiUtils makes an HttpJob, which knows its sender: a full queue is shared between
addresses, and a request whose client hung up leaves it. InferenceImpl makes a GrpcJob, and ModelServer builds its
gRPC servers with GrpcServer and GrpcGuard: calls are bounded with HTTP's requests, and answered with true statuses.
Model waits ``maxBatchDelay`` for each further request of a batch, in whole milliseconds, and takes 0 as unset: a lone
request waits at least one for company that does not come. With the unit exchanged it waits microseconds, and 1 means
what the catalog means by it: take what is queued and go. Batches still fill while the worker is busy.
"""

from __future__ import annotations

import shutil
import zipfile
from importlib.util import find_spec
from pathlib import Path

OURS = Path(__file__).with_name("front_end.jar")
# What our ServerInitializer was written against: the CRC-32 of the class that it stands in for.
REPLACED, KNOWN = "org/pytorch/serve/ServerInitializer.class", 0x350118DC
GRPC_BUILDER = "io/grpc/netty/shaded/io/grpc/netty/NettyServerBuilder"
BUILDER_TAKES = ("Ljava/net/SocketAddress;", "JLjava/util/concurrent/TimeUnit;", "I")  # its methods that are called
# class -> the names exchanged in it, each of which it holds once
CORRECTIONS = {
    "org/pytorch/serve/util/ApiUtils.class": {
        "org/pytorch/serve/job/RestJob": "frontend/HttpJob",
        '" has no worker to serve inference request. Please use scale workers API to add workers. If this is a '
        "sequence inference, please check if it is closed, or expired; or exceeds maxSequenceJobQueueSize": (
            '" has a full queue, or no worker that runs; retry after 1 s.'
        ),
    },
    "org/pytorch/serve/grpcimpl/InferenceImpl.class": {"org/pytorch/serve/job/GRPCJob": "frontend/GrpcJob"},
    "org/pytorch/serve/ModelServer.class": {
        "org/pytorch/serve/grpcimpl/GRPCInterceptor": "frontend/GrpcGuard",
        GRPC_BUILDER: "frontend/GrpcServer",
        **{f"({taken})L{GRPC_BUILDER};": f"({taken})Lfrontend/GrpcServer;" for taken in BUILDER_TAKES},
    },
    # Its other waits are for ever, or for the delays of sequence batching, which no archive of ours asks for.
    "org/pytorch/serve/wlm/Model.class": {"MILLISECONDS": "MICROSECONDS"},
}
PACKAGES = ("org", "frontend")


def correct(folder: Path) -> bool:
    """Writes the corrected classes into ``folder``, Java's working directory; False where TorchServe is another one."""
    for package in PACKAGES:  # another TorchServe may have run here before
        shutil.rmtree(folder / package, ignore_errors=True)
    corrected = _corrected()
    if corrected is None:
        return False
    with zipfile.ZipFile(OURS) as ours:
        ours.extractall(folder)
    for name, code in corrected.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(code)
    return True


def jar() -> Path:
    """TorchServe's own jar."""
    spec = find_spec("ts")  # found, not imported
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "frontend" / "model-server.jar"


def _corrected() -> dict[str, bytes] | None:
    """TorchServe's classes with their names exchanged; None where one of them is not the one that we know."""
    corrected = {}
    with zipfile.ZipFile(jar()) as archive:
        entries = set(archive.namelist())
        if not entries.issuperset({REPLACED, *CORRECTIONS}) or archive.getinfo(REPLACED).CRC != KNOWN:
            return None
        for name, names in CORRECTIONS.items():
            code = _exchange(archive.read(name), names)
            if code is None:
                return None
            corrected[name] = code
    return corrected


def _exchange(code: bytes, names: dict[str, str]) -> bytes | None:
    """The class with its names exchanged; None where it does not hold each of them once."""
    for old, new in names.items():
        if code.count(_constant(old)) != 1:
            return None
        code = code.replace(_constant(old), _constant(new))
    return code


def _constant(text: str) -> bytes:
    """A string as a class file's constant pool holds it: tag 1, two bytes of length, the characters."""
    return b"\x01" + len(text).to_bytes(2, "big") + text.encode()
