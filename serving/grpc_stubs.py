"""Python stubs of TorchServe's own gRPC API, generated from the .proto files in its jar:
``python -m serving.grpc_stubs FOLDER``.

Knows protoc (the extra ``grpc``), and nothing of the callers.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from serving.errors import ServingError
from serving.front_end import jar

INFERENCE = "inference.proto"
PROTOS = (INFERENCE, "google/rpc/status.proto")  # the second is imported by the first


def write(folder: Path) -> list[Path]:
    """Writes the .proto files and their stubs, ``inference_pb2`` and ``inference_pb2_grpc``, and returns the paths.

    A client has ``folder`` on its path and installs grpcio and protobuf. Raises ServingError.
    """
    if not find_spec("grpc_tools"):
        raise ServingError("The stubs are generated with grpcio-tools; run: pip install -c constraints.txt '.[grpc]'")
    from grpc_tools import protoc

    try:
        with zipfile.ZipFile(jar()) as archive:
            for name in PROTOS:
                archive.extract(name, folder)
    except OSError as error:
        raise ServingError(f"{folder} cannot be written ({error.strerror}); name another folder.") from None
    arguments = ["protoc", f"-I{folder}", f"-I{Path(protoc.__file__).parent / '_proto'}", f"--python_out={folder}"]
    if protoc.main([*arguments, *PROTOS]) or protoc.main([*arguments, f"--grpc_python_out={folder}", INFERENCE]):
        raise ServingError("protoc refused the .proto files of TorchServe's jar; its message is above.")
    return sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".proto"))


@lru_cache(maxsize=1)
def stubs() -> tuple[ModuleType, ModuleType]:
    """The modules ``inference_pb2`` and ``inference_pb2_grpc``, generated for this process. Raises ServingError."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        sys.path.append(folder)
        try:
            return import_module("inference_pb2"), import_module("inference_pb2_grpc")
        finally:
            sys.path.remove(folder)


def main(arguments: list[str]) -> int:
    """Writes the stubs and says where they are."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("Give the folder to write to, as in: python -m serving.grpc_stubs stubs", file=sys.stderr)
        return 2
    try:
        for path in write(Path(arguments[0])):
            print(path)
    except ServingError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
