"""An archive's service in this process, for tests of explanations."""

from __future__ import annotations

import json
import zipfile
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from handlers.service import Service
from tests.handlers.test_service import Context


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
    """A batch of requests, each for an explanation where its header says so."""

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
