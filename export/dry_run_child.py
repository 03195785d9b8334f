"""Loads an unpacked archive as TorchServe's worker does and answers requests; run by dry_run.py.

Must not import the checkout: its only path of ours is the archive's folder, so that a file missing from the archive
fails here and not when served. Reads requests.json, writes answers.json and outputs.npy, all in the folder given.
"""

import base64
import json
import sys
from pathlib import Path


def main(archive: Path, exchange: Path) -> None:
    sys.path[0] = str(archive)  # was this script's own folder, which is the checkout's
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
    answers, outputs = [], []
    for batch in plan["batches"]:
        requests = [
            {
                "requestId": str(index).encode(),
                "parameters": [{"name": "body", "value": base64.b64decode(body), "contentType": plan["content_type"]}],
            }
            for index, body in enumerate(batch["bodies"])
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
            service = handle.__self__
            from handlers.requests import read_payload

            items = [
                item
                for request in inputs
                for item in service.read(read_payload(request, plan["content_type"], service.item_key, 1))
            ]
            outputs.append(service.outputs(items).copy())  # a runtime may overwrite its last result
    (exchange / "answers.json").write_text(json.dumps(answers))
    np.save(exchange / "outputs.npy", np.concatenate(outputs) if outputs else np.zeros((0, 0), np.float32))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
