"""An archive without TorchServe: unpacked once per machine, loaded, and asked in batches.

Knows TorchServe's handler contract and nothing of Ray or HTTP. The package ``handlers`` comes from the archive, never
from the checkout, so no module that a replica imports may import the checkout's.
"""

from __future__ import annotations

import importlib
import os
import shutil
import stat
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.errors import ServingError
from serving.identity import identity, manifest_of, read_config
from serving.model_folder import changed
from serving.model_settings import Settings
from serving.store import sha256

DELAY_UNIT_US = 1000
RESPONSE_TIMEOUT_S = 60
Labels = tuple[str, str, str]  # model, variant, version


@dataclass(frozen=True)
class Asked:
    """A request: the fields of its body (``{"body": bytes}`` where it is no form), the headers that handlers read, and
    the version that its URL names."""

    inputs: dict[str, bytes | str]
    headers: dict[str, Any]
    version: str | None = None


@dataclass
class Answer:
    """A handler's answer. ``busy_s`` are the seconds of the whole batch. A batch's first answer has ``counted``: the
    number of requests, and of the tokens and pixels that were read."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    labels: Labels = ("", "", "")
    busy_s: float = 0.0
    counted: dict[str, int] = field(default_factory=dict)


class Context:
    """The context object of TorchServe's handler contract, for one batch."""

    def __init__(self, folder: Path, config: dict[str, Any], model: dict[str, Any], gpu: int | None) -> None:
        self.system_properties = {"model_dir": str(folder), "gpu_id": gpu, "batch_size": config.get("batchSize", 1)}
        self.model_yaml_config, self.manifest, self.model_name = config, {"model": model}, str(model["modelName"])
        self.asked: Sequence[Asked] = ()
        self.answers: list[Answer] = []

    def of(self, asked: Sequence[Asked]) -> Context:
        """A context for a batch of these requests."""
        made: Context = object.__new__(type(self))
        made.__dict__ |= {**self.__dict__, "asked": asked, "answers": [Answer() for _ in asked]}
        return made

    def get_all_request_header(self, row: int) -> dict[str, Any]:
        """The headers of a request, and the content type of its body under "body"."""
        return self.asked[row].headers

    def set_response_content_type(self, row: int, value: str) -> None:
        """Sets the content type of the answer in that row."""
        self.answers[row].headers["content-type"] = value

    def set_response_header(self, row: int, name: str, value: str) -> None:
        """Sets a header of the answer in that row."""
        self.answers[row].headers[name] = value

    def set_response_status(self, code: int, phrase: str = "", row: int = 0) -> None:
        """Sets the status of the answer in that row."""
        self.answers[row].status = code


class Loaded:
    """A loaded and warm archive. ``batch_size`` is the largest batch, ``timeout_s`` the longest time of a batch in
    seconds."""

    def __init__(self, archive: Path, digest: str, settings: Settings, gpu: int | None = None) -> None:
        """Checks, unpacks and loads ``archive``. Raises ServingError and the handler's errors."""
        if (found := sha256(archive)) != digest:
            raise ServingError(
                f"{archive} has the SHA-256 {found}, not {digest}; put the same file on every machine, or write the "
                "configuration again (python -m deploy.ray)"
            )
        config = changed(read_config(archive)[1], settings, DELAY_UNIT_US)
        model = {**manifest_of(archive)["model"], "modelName": archive.stem}
        self.version, self.batch_size = str(model["modelVersion"]), int(config.get("batchSize") or 1)
        self.delay_s = float(settings.get("batch_delay_ms") or 0) / 1e3
        self.timeout_s = float(config.get("responseTimeout") or RESPONSE_TIMEOUT_S)
        stated = identity(archive)
        self.labels: Labels = (stated.model, stated.variant, self.version)
        folder = unpacked(archive, digest)
        self._context = Context(folder, config, model, gpu)
        self._service = _service(folder, str(model["handler"]))
        self._service.initialize(self._context)

    def ask(self, asked: Sequence[Asked]) -> list[Answer]:
        """The answers to a batch of requests."""
        known = [each for each in asked if each.version in (None, self.version)]
        context, began = self._context.of(known), time.perf_counter()
        bodies = self._service.handle([each.inputs for each in known], context) if known else []
        busy_s = time.perf_counter() - began
        for answer, body in zip(context.answers, bodies, strict=True):
            answer.body, answer.busy_s, answer.labels = bytes(body), busy_s, self.labels
            answer.headers["x-model-version"] = self.version
        if known:
            context.answers[0].counted = self._counted(len(known))
        left = iter(context.answers)
        return [next(left) if each.version in (None, self.version) else Answer(404) for each in asked]

    def _counted(self, batch: int) -> dict[str, int]:
        """The handler's counts since the last batch (handlers/figures.py); older archives have none."""
        if not hasattr(self._service, "figures"):
            return {"batch": batch}
        pairs = (each.split("=") for each in self._service.figures.taken(batch).split(","))
        return {name: int(count) for name, count in pairs}


def _service(folder: Path, handler: str) -> Any:
    """An instance of the one class with ``handle`` that the archive's entry file defines."""
    sys.path.insert(0, str(folder))
    if (held := sys.modules.get("handlers")) is not None and not str(held.__file__).startswith(str(folder)):
        raise ServingError("This process has imported the handlers of another archive or of the checkout.")
    module = importlib.import_module(handler.partition(":")[0].removesuffix(".py"))
    own = [each for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__]
    kinds = [each for each in own if isinstance(each, type) and hasattr(each, "handle")]
    if len(kinds) != 1:
        raise ServingError(f"{handler} has {len(kinds)} classes with a method handle; one is expected.")
    return kinds[0]()


def unpacked(archive: Path, digest: str) -> Path:
    """The folder with the archive's files, which all replicas on a machine share. Raises ServingError if the parent
    folder may belong to another user."""
    top = Path(tempfile.gettempdir()) / f"archives-of-{os.geteuid()}"
    top.mkdir(mode=0o700, exist_ok=True)
    found = top.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ServingError(f"{top} is not a folder of this user alone (mode 0700); remove it, or set TMPDIR")
    folder = top / digest
    with zipfile.ZipFile(archive) as opened:
        if not _whole(folder, opened):
            _extract(opened, folder)
    return folder


def _whole(folder: Path, opened: zipfile.ZipFile) -> bool:
    """Whether the folder has every file. A cleaner of temporary folders may have removed some."""
    try:
        return all((folder / each.filename).stat().st_size == each.file_size for each in opened.infolist()
                   if not each.is_dir())  # fmt: skip
    except FileNotFoundError:
        return False


def _extract(opened: zipfile.ZipFile, folder: Path) -> None:
    """Creates the folder in one step, since another replica may create it at the same time."""
    made = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
    try:
        opened.extractall(made)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    except OSError:  # another replica was first
        if not _whole(folder, opened):
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
