"""Loads an unpacked archive as TorchServe's worker does, and answers requests. dry_run.py runs this script.

It must not import the checkout. Only the archive's folder is on its path, so that a missing file is noticed here and
not when the archive is served. It reads requests.json, and writes answers.json and outputs.npz in the same folder.
"""

import base64
import json
import logging
import sys
import traceback
from pathlib import Path
from typing import Any

USER_HANDLER = "user_handler"  # export/own_handler.py puts it into the archive


def main(archive: Path, exchange: Path) -> None:
    """Answers the requests in ``exchange`` with the unpacked ``archive``, and writes the answers there."""
    sys.path[0] = str(archive)  # replaces this script's folder, which belongs to the checkout
    import numpy as np
    from ts.model_loader import ModelLoaderFactory
    from ts.service import Service

    plan = json.loads((exchange / "requests.json").read_text())
    manifest = json.loads((archive / "MAR-INF" / "MANIFEST.json").read_text())
    loaded = ModelLoaderFactory.get_model_loader().load(
        manifest["model"]["modelName"], str(archive), manifest["model"]["handler"], plan["gpu_id"], plan["batch_size"]
    )
    import handlers

    if not str(handlers.__file__).startswith(str(archive)):
        raise SystemExit(f"handlers came from {handlers.__file__}, not from the archive")
    handle, context = loaded._entry_point, loaded.context
    answers, outputs, failures = [], [], []

    def note(record: Any) -> bool:
        failures.append(failure(record.error, handle.__self__))
        return True

    logging.getLogger("handlers.service").addFilter(note)
    for batch in plan["batches"]:
        requests = [
            {
                "requestId": str(index).encode(),
                "parameters": [{"name": "body", "value": base64.b64decode(body), "contentType": content_type}],
            }
            for index, (body, content_type) in enumerate(batch["requests"])
        ]
        headers, inputs, _ = Service.retrieve_data_for_inference(requests)
        context.request_processor = headers
        replies = handle(inputs, context)
        answers.append([
            {"status": headers[i].get_response_status_code(), "body": json.loads(reply),
             "headers": headers[i].get_response_headers()}
            for i, reply in enumerate(replies)
        ])  # fmt: skip
        if batch["outputs"]:
            outputs += raw_outputs(handle.__self__, inputs, [content_type for _, content_type in batch["requests"]])
    (exchange / "answers.json").write_text(json.dumps({"answers": answers, "failures": failures}))
    arrays = {f"{index}/{name}": values for index, each in enumerate(outputs) for name, values in each.items()}
    np.savez(exchange / "outputs.npz", **arrays)


def failure(error: BaseException, service: Any) -> dict[str, Any]:
    """The record of a request with the status 500, for export.dry_run.Answers."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).stem == USER_HANDLER]
    return {
        "kind": type(error).__name__, "message": str(error), "class": type(service).__name__,
        "line": own[-1].lineno if own else 0, "function": own[-1].name if own else "",
    }  # fmt: skip


def raw_outputs(service: Any, requests: list[Any], content_types: list[str]) -> list[dict[str, Any]]:
    """The model's raw outputs for each item of the requests, as one batch. A user's ``preprocess`` is not applied,
    since the reference does not apply it."""
    from handlers.requests import read_payload

    items = []
    for request, content_type in zip(requests, content_types, strict=True):
        items += service.accept(service.read(read_payload(request, content_type, service.shape, 1)))
    found: list[dict[str, Any]] = service.outputs(items)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
