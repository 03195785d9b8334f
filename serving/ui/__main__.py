"""``make ui``: serves the page until Ctrl-C, for the server that make serve started."""

from __future__ import annotations

import base64
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

from serving.client import Client
from serving.config import LARGEST_REQUEST, Config
from serving.errors import ServingError
from serving.identity import identity, read_config
from serving.replicas.group import served_config
from serving.state import RunDirectory
from serving.store import STORE
from serving.ui.server import Local, Shown

PORT = 8090


def described(name: str) -> dict[str, Any] | None:
    """An archive's description for the page: name, model, variant, task, the options' defaults, and an example, whose
    file is in base64. None for an archive that this project did not build."""
    path = STORE / f"{name}.mar"
    who = identity(path)
    if not who.ours:
        return None
    section = read_config(path)[1]["archive"]
    example = dict(section.get("example") or {})
    if file := example.pop("file", ""):
        example["base64"] = _packed(path, file)
    return {"name": name, "model": who.model, "variant": who.variant, "task": who.task,
            "parameters": section.get("parameters") or {}, "example": example}  # fmt: skip


def _packed(archive: Path, file: str) -> str:
    """A file of the archive in base64; empty if there is none of that name."""
    with zipfile.ZipFile(archive) as opened:
        return base64.b64encode(opened.read(file)).decode() if file in opened.namelist() else ""


def shown(config: Config, run: RunDirectory) -> Shown:
    """The archives of the running server. Raises ServingError if none runs."""
    state = run.read()
    if state is None or not state.ready or not state.running():
        raise ServingError("TorchServe is not running; run: make serve")
    found = [each for name in sorted(state.archives) if (each := described(name))]
    if not found:
        raise ServingError("The server has no archive of this project; run: make archive stop serve")
    most = int(config.properties.get(LARGEST_REQUEST[0]) or LARGEST_REQUEST[1])
    return Shown(config.inference, found, most)


def _port() -> int:
    given = os.environ.get("UI_PORT", "").strip() or str(PORT)
    if not given.isdecimal() or int(given) > 65535:
        raise ServingError(f"UI_PORT={given} is no port; write a number up to 65535, as in: make ui UI_PORT={PORT}")
    return int(given)


def main() -> int:
    """Serves the page until it is interrupted."""
    run = RunDirectory.default()
    try:
        config, port = served_config(run), _port()
        client = Client(config, run.key_file, retries=0)
        server = Local(port, shown(config, run), client)
    except ServingError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Port {port} cannot be used ({error.strerror}); name another: make ui UI_PORT=...", file=sys.stderr)
        return 1
    print(f"Open {server.link}\nCtrl-C ends the page; TorchServe keeps running.", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
