"""Loads an archive's service in this process, and sends requests for explanations to it."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import yaml
from PIL import Image

from handlers.service import Service
from tests.handlers.test_service import Context

TEXT = "Ada went to London — déjà vu, with Bob."
PAIR = {"text": "Ada went to London.", "text_pair": "She is in London now."}
# For each task: a request, and the explanation's prediction from the answer of /predictions.
SINGLE = {
    "bert": ({"text": TEXT}, lambda answer: answer["predictions"][0]),
    "filler": ({"text": "Paris is the [MASK] of France."}, lambda answer: answer["predictions"][0]),
    "ranker": ({"query": "Who?", "texts": ["Ada went.", "x", "to London"]}, lambda answer: answer[0]),
    "reader": ({"question": "Where is Ada?", "context": "Ada is in London. " * 8}, lambda answer: answer),
}


def loaded(archive: Path, folder: Path, response_timeout_s: float = 60) -> Service:
    """The initialized service of an archive, unpacked in ``folder``."""
    with zipfile.ZipFile(archive) as source:
        source.extractall(folder)
    config = yaml.safe_load((folder / "model-config.yaml").read_text())
    module = import_module(f"handlers.tasks.{config['archive']['task'].replace('-', '_')}")
    (entry,) = [each for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__
                and isinstance(each, type)]  # fmt: skip
    service: Service = entry()
    properties = {"model_dir": str(folder), "gpu_id": None, "batch_size": 8}
    config["responseTimeout"] = response_timeout_s
    service.initialize(SimpleNamespace(system_properties=properties, model_yaml_config=config))
    return service


class Asked(Context):
    """A batch of requests. The header of each says whether it is for an explanation."""

    model_name = "m-explain"

    def __init__(self, headers: list[dict[str, Any]]) -> None:
        super().__init__(len(headers))
        for own, given in zip(self.headers, headers, strict=True):
            own |= given


EXPLAIN = {"explain": "True"}


def explain(service: Service, *bodies: Any, status: int = 200, **headers: str) -> list[Any]:
    """The parsed answers to requests for explanations, one batch."""
    context = Asked([{**EXPLAIN, **headers}] * len(bodies))
    replies = service.handle([{"body": json.dumps(body).encode()} for body in bodies], context)
    assert context.status == [status] * len(bodies), replies
    return [json.loads(reply) for reply in replies]


def explanation(service: Service, body: Any, **options: Any) -> dict[str, Any]:
    """The only explanation of a request with these options."""
    (answer,) = explain(service, body | ({"parameters": options} if options else {}))
    return answer["explanation"]


def predict(service: Service, body: Any) -> Any:
    """The parsed answer of /predictions."""
    context = Asked([{}])
    (reply,) = service.handle([{"body": json.dumps(body).encode()}], context)
    assert context.status == [200], reply
    return json.loads(reply)


def picture(seed: int = 0, size: tuple[int, int] = (80, 60)) -> bytes:
    """A PNG file of noise, ``size`` pixels wide and high."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(file, "PNG")
    return file.getvalue()


def base64_of(data: bytes) -> dict[str, str]:
    """The body of a request with the image ``data``."""
    return {"image": base64.b64encode(data).decode()}
