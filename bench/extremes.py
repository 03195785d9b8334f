"""``python -m bench.extremes``: compares the most expensive requests with a typical one, in CPU seconds.

It measures each archive of a text task in MODEL_STORE, loaded as by a worker. The requests are: a typical one (one
sentence of about 20 tokens), one with the largest number of such items, and the most expensive ones within the limits.
NAMES selects archives. OUT is a file for the rows as JSON.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from export.progress import table
from export.quiet import quieten
from loadtest.measure.provenance import machine
from serving.store import STORE

SENTENCE = "The quick brown fox jumps over the lazy dog, and then it sleeps in the warm sun."
WORD = "word "
HEADER = ("archive", "request", "status", "tokens", "CPU s", "times typical", "times as many sentences")


def main() -> int:
    """Returns the exit status."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in workers: waiting threads use no CPU time
    quieten()
    chosen, found = os.environ.get("NAMES", "").split(), []
    with tempfile.TemporaryDirectory(prefix="extremes-") as scratch:
        for archive in sorted(STORE.glob("*.mar")):
            service = _load(archive, Path(scratch, archive.stem)) if archive.stem in chosen or not chosen else None
            if service and service.settings.text:
                found += measure(archive.stem, service)
    if not found:
        print(f"{STORE} holds no archive of a text task; run: make archive MODELS=minilm", file=sys.stderr)
        return 1
    print(table(HEADER, [tuple(map(str, row.values())) for row in found]))
    if out := os.environ.get("OUT"):
        Path(out).write_text(json.dumps({"environment": machine(), "rows": found}, indent=1) + "\n")
    return 0


def _load(archive: Path, folder: Path) -> Any:
    """The archive's service after its warm-up, without a response timeout, so that it refuses no request for its
    time."""
    import yaml

    from handlers.service import Service

    with zipfile.ZipFile(archive) as source:
        source.extractall(folder)
    config = yaml.safe_load((folder / "model-config.yaml").read_text())
    manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())
    found = spec_from_file_location("entry", folder / manifest["model"]["handler"])
    assert found is not None and found.loader is not None  # a path that ends in .py has both
    module = module_from_spec(found)
    found.loader.exec_module(module)
    (entry,) = [each for _, each in inspect.getmembers(module, inspect.isclass)
                if issubclass(each, Service) and each.__module__ == module.__name__]  # fmt: skip
    service = entry()
    properties = {"model_dir": str(folder), "gpu_id": None, "batch_size": config["batchSize"]}
    service.initialize(SimpleNamespace(
        system_properties=properties, model_yaml_config={"archive": config["archive"]}, metrics=None
    ))  # fmt: skip
    return service


def requests(task: str, items: int, chars: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """(description, JSON body) of each request: a typical one, one with the largest number of typical items, and the
    most expensive ones.

    ``items`` and ``chars`` are the limits of one request.
    """
    long = WORD * (chars // items // len(WORD) - 40)
    if task == "rerank":
        yield "a query and a text", {"query": SENTENCE, "texts": [SENTENCE]}
        yield f"a query and {items} texts", {"query": SENTENCE, "texts": [SENTENCE] * items}
        yield f"a query and {items} long texts", {"query": SENTENCE, "texts": [long] * items}
    elif task == "question-answering":
        pair = {"question": SENTENCE, "context": SENTENCE}
        most = {"parameters": {"top_k": 20, "max_answer_tokens": 512}}
        yield "a question and a sentence", pair
        yield f"{items} of them", {"instances": [pair] * items}
        yield f"{items} with contexts of one window", {"instances": [{**pair, "context": WORD * 470}] * items, **most}
    elif task == "fill-mask":
        many = {"parameters": {"top_k": 100}}
        yield "a sentence", {"text": f"[MASK] {SENTENCE}"}
        yield f"{items} of them", {"text": [f"[MASK] {SENTENCE}"] * items}
        yield f"{items} long texts, top_k 100", {"text": [f"[MASK] {long}"] * items, **many}
        yield f"a long text of {items} masks, top_k 100", {"text": "[MASK] " * items + WORD * 19_000, **many}
    else:
        yield "a sentence", {"text": SENTENCE}
        yield f"{items} of them", {"text": [SENTENCE] * items}
        yield f"{items} long texts", {"text": [long] * items}


def measure(name: str, service: Any) -> list[dict[str, Any]]:
    """The rows of one archive."""
    found: list[dict[str, Any]] = []
    bodies = requests(service.settings.task, service.settings.max_items, service.settings.text.max_total_chars)
    for shown, body in bodies:
        context, repeats = _Context(), 1 if len(found) > 1 else 5
        requested = [{"body": json.dumps(body).encode()}]
        seconds = min(_cpu_seconds(service, requested, context) for _ in range(repeats))
        row = {"archive": name, "request": shown, "status": context.status, "tokens": context.tokens(service, body),
               "cpu_s": round(seconds, 4)}  # fmt: skip
        row["times_typical"] = round(seconds / found[0]["cpu_s"], 1) if found else 1.0
        row["times_as_many"] = round(seconds / found[1]["cpu_s"], 1) if len(found) > 1 else ""
        found.append(row)
        print(f"{name}: {shown}: {seconds:.3f} s", file=sys.stderr, flush=True)
    return found


def _cpu_seconds(service: Any, requested: list[dict[str, Any]], context: _Context) -> float:
    """The CPU seconds of the request, over all threads of this process."""
    began = time.process_time()
    service.handle(requested, context)
    return time.process_time() - began


class _Context:
    """The part of ts.context.Context that the handlers use, for one request."""

    status = 200

    def get_all_request_header(self, row: int) -> dict[str, Any]:
        return {"body": {"content-type": "application/json"}}

    def set_response_header(self, row: int, key: str, value: str) -> None:
        pass

    def set_response_content_type(self, row: int, value: str) -> None:
        pass

    def set_response_status(self, code: int, phrase: str, row: int) -> None:
        self.status = code

    def tokens(self, service: Any, body: dict[str, Any]) -> int:
        """The tokens of the request over all its rows."""
        from handlers.requests import read_payload

        raw = json.dumps(body).encode()
        settings = service.settings
        payload = read_payload({"body": raw}, "application/json", service.shape, settings.max_items, service.options)
        return int(service.costs(service.collate(service.items(payload, settings.parameters)).inputs).sum())


if __name__ == "__main__":
    sys.exit(main())
