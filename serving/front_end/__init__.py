"""Corrects TorchServe's front end where no setting can: with additional classes, and by exchanging names in
TorchServe's classes.

Java finds the corrected classes first: its class path begins with a jar of them (shared.py). Where nothing can be kept
between starts, they are files in the private run folder, TorchServe's working directory, with which its own class path
begins. The corrections fit TorchServe 0.12.0. If a class differs, nothing is corrected.

*Additional classes* (``java/``, compiled into ``front_end.jar``). ServerInitializer puts two of them before
TorchServe's request handlers. Framing refuses requests that break the rules of HTTP/1.1. Gate checks a request's token,
length and form before its body is read, bounds the bytes of all requests and the number of connections, and closes
connections without a reset. OpenInference answers the URLs of the Open Inference Protocol; it passes inference on as a
request to /predictions. Answering answers 400 to every error while a request is read. Metrics adds the metrics of
requests and workers to /metrics (docs/monitoring.md). If config.properties asks for it, Records hands a record of each
finished request to the request log, and to the process that makes traces.

*Exchanged names* (CORRECTIONS). ApiUtils makes an HttpJob, which knows its sender. So a full queue is shared between
addresses, and a request leaves it when its client disconnects. InferenceImpl makes a GrpcJob, and ModelServer builds
its gRPC servers with GrpcServer and GrpcGuard. So gRPC calls and HTTP requests have common limits, and refused calls
have the right status. GrpcServer adds OpenInferenceCalls, the Open Inference Protocol over gRPC: it translates a call
to the request that a worker gets over REST, and the answer back. ModelServer makes a Groups too, which answers the
requests under way before the server ends. WorkLoadManager makes a WorkerStates, which counts the restarts of workers
and times their loads. ZipUtils unpacks an archive without its SHA-256, which nothing reads.

Model waits ``maxBatchDelay`` for each further request of a batch, in whole milliseconds, and reads 0 as unset. So a
lone request waits at least 1 ms. With the unit exchanged, Model waits microseconds, and 1 means "take the queued
requests and start", as the catalog intends. Batches still fill while the worker is busy. Model's queue becomes Waiting:
a request that comes alone does not wait for others. Model's lock becomes Turns, which gives the next batch to the idle
worker that was busy last. WorkerThread sends a batch by Sending: the event loop of the worker's connection writes it.
TorchServe lets a thread of a pool do this, and on one or two cores a new thread for each batch.
"""

from __future__ import annotations

import shutil
import zipfile
from importlib.util import find_spec
from pathlib import Path

OURS = Path(__file__).with_name("front_end.jar")
# What verbs ask of a running front end: versions of a model, copies of requests, the end of a given worker. The record
# of a start has these names (serving/state.py), since an earlier version of this project may have started the server.
OFFERS = ("versions", "mirror", "end_worker")
# The CRC-32 of the class that this project's ServerInitializer replaces.
REPLACED, KNOWN = "org/pytorch/serve/ServerInitializer.class", 0x350118DC
GROUPS = "org/pytorch/serve/util/ServerGroups"
GRPC_BUILDER = "io/grpc/netty/shaded/io/grpc/netty/NettyServerBuilder"
LOCK = "java/util/concurrent/locks/ReentrantLock"
FUTURE = "java/util/concurrent/CompletableFuture"
BUILDER_TAKES = ("Ljava/net/SocketAddress;", "JLjava/util/concurrent/TimeUnit;", "I")  # its methods in use
# class -> the names exchanged in it. The class holds each of them once.
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
        GROUPS: "frontend/Groups",
        f"L{GROUPS};": "Lfrontend/Groups;",
        GRPC_BUILDER: "frontend/GrpcServer",
        **{f"({taken})L{GRPC_BUILDER};": f"({taken})Lfrontend/GrpcServer;" for taken in BUILDER_TAKES},
    },
    "org/pytorch/serve/wlm/WorkLoadManager.class": {
        "org/pytorch/serve/wlm/WorkerStateListener": "frontend/WorkerStates"
    },
    "org/pytorch/serve/archive/utils/ZipUtils.class": {"java/security/DigestInputStream": "frontend/Undigested"},
    "org/pytorch/serve/wlm/WorkerThread.class": {
        "io/netty/bootstrap/Bootstrap": "frontend/Dial",
        FUTURE: "frontend/Sending",
        f"(L{FUTURE};)Ljava/lang/Void;": "(Lfrontend/Sending;)Ljava/lang/Void;",
    },
    # Model's other waits have no limit, or are delays of sequence batching, which no archive of this project uses.
    "org/pytorch/serve/wlm/Model.class": {
        "MILLISECONDS": "MICROSECONDS",
        LOCK: "frontend/Turns",
        f"L{LOCK};": "Lfrontend/Turns;",
        "java/util/concurrent/ConcurrentHashMap": "frontend/Queues",
    },
}
PACKAGES = ("org", "frontend")


def correct(folder: Path) -> bool:
    """Writes the corrected classes into ``folder``, Java's working directory. False for another version of
    TorchServe."""
    for package in PACKAGES:  # another TorchServe may have run here before
        shutil.rmtree(folder / package, ignore_errors=True)
    found = corrected()
    if found is None:
        return False
    with zipfile.ZipFile(OURS) as ours:
        ours.extractall(folder)
    for name, code in found.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(code)
    return True


def jar() -> Path:
    """TorchServe's own jar."""
    spec = find_spec("ts")  # find_spec does not import it
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "frontend" / "model-server.jar"


def corrected() -> dict[str, bytes] | None:
    """TorchServe's classes with their names exchanged; None where one of them is not as expected."""
    found = {}
    with zipfile.ZipFile(jar()) as archive:
        entries = set(archive.namelist())
        if not entries.issuperset({REPLACED, *CORRECTIONS}) or archive.getinfo(REPLACED).CRC != KNOWN:
            return None
        for name, names in CORRECTIONS.items():
            code = _exchange(archive.read(name), names)
            if code is None:
                return None
            found[name] = code
    return found


def _exchange(code: bytes, names: dict[str, str]) -> bytes | None:
    """The class with its names exchanged; None where it does not hold each of them once."""
    for old, new in names.items():
        if code.count(constant(old)) != 1:
            return None
        code = code.replace(constant(old), constant(new))
    return code


def constant(text: str) -> bytes:
    """A string as a class file's constant pool holds it: tag 1, two bytes of length, the characters."""
    return b"\x01" + len(text).to_bytes(2, "big") + text.encode()
