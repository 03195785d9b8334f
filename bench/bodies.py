"""``python -m bench.bodies`` measures the sizes of requests, answers and metrics of a running server, in bytes.

It sends the requests of a load test to each archive (loadtest/load/payloads.py). The sizes are means of the HTTP bytes
of requests and answers, with headers, without TCP and TLS. bench/capacity.py uses them.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime, timezone
from pathlib import Path
from statistics import mean
from typing import Any

import requests

from export.catalog import MODELS
from loadtest.load.payloads import Payload, payloads
from serving.client import Client
from serving.config import Config
from serving.errors import ServingError
from serving.state import RunDirectory

OUT = Path(__file__).resolve().parent.parent / "docs" / "results" / "bodies.json"


def of_archive(url: str, token: str, sent: tuple[Payload, ...]) -> dict[str, Any]:
    """Mean bytes of the requests with these payloads and of their answers. Raises ServingError for an answer with an
    error status."""
    sizes = []
    for each in sent:
        heads = {"Authorization": f"Bearer {token}", "Content-Type": each.content_type}
        reply = requests.post(url, each.body, headers=heads, timeout=120)
        if not reply.ok:
            raise ServingError(f"{url} answers {reply.status_code}: {reply.text[:100]}")
        asked = len(url) + _head(reply.request.headers) + len(each.body)
        sizes.append((asked, _head(reply.headers) + len(reply.content)))
    sent_bytes, answered = zip(*sizes, strict=True)
    return {"requests": len(sizes), "request_bytes": round(mean(sent_bytes)), "answer_bytes": round(mean(answered))}


def _head(headers: Any) -> int:
    return sum(len(f"{name}: {value}\r\n") for name, value in headers.items()) + 2


def of_metrics(page: str, count: int) -> dict[str, int]:
    """Bytes and series of one scrape with ``count`` archives: the series of the server, and those of each archive."""
    lines = [line for line in page.splitlines() if line and not line.startswith("#")]
    models = [line for line in lines if ('model="' in line and 'model=""' not in line) or "model_name=" in line]
    return {
        "bytes": len(page),
        "series_of_server": len(lines) - len(models),
        "series_of_archive": -(-len(models) // count),
    }


def main() -> int:
    """Measures the running server and writes the result."""
    config, run = Config.load(), RunDirectory.default()
    state = run.read()
    if state is None or not state.running():
        raise ServingError("TorchServe is not running; run: make serve")
    token, rows = Client(config, run.key_file).token(), {}
    table = {model.name: model for model in MODELS}
    for name in state.archives:
        if (model := table.get(name.rpartition("-")[0])) is not None:
            rows[name] = of_archive(f"{config.inference}/predictions/{name}", token, payloads(model))
            print(f"{name}: {rows[name]}", flush=True)
    metrics = of_metrics(requests.get(f"{config.metrics}/metrics", timeout=30).text, len(state.archives))
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    out = Path(os.environ.get("OUT") or OUT)
    out.write_text(json.dumps({"date": date, "archives": rows, "metrics": metrics}, indent=1) + "\n")
    print(f"Written: {out}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ServingError as error:
        sys.exit(str(error))
