"""The Open Inference Protocol over gRPC: the extra ``grpc``.

    from tsi_client.grpc import GrpcClient

    with GrpcClient("http://127.0.0.1:7070", token="...") as client:
        client.infer("minilm-torchscript", {"text": ["hello world"]})["embedding"]

``AsyncGrpcClient`` is the same with ``await``, for asyncio. The errors are those of ``tsi_client``.
"""

try:
    import google.protobuf as _protobuf  # noqa: F401
    import grpc as _grpc  # noqa: F401
except ImportError:
    raise ImportError("tsi_client.grpc needs grpcio and protobuf; run: pip install grpcio protobuf") from None

from tsi_client.grpc.async_client import AsyncGrpcClient
from tsi_client.grpc.client import GrpcClient

__all__ = ["AsyncGrpcClient", "GrpcClient"]
