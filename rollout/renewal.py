"""Gives the workers of a running version other threads: replaces them one after another.

A worker reads model-config.yaml of the unpacked archive when it loads. So that file changes first, also for a worker
that TorchServe starts again meanwhile. A new worker is ready before an old one ends, between two batches.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from typing import Any

import yaml

from rollout.running import DELAY_UNIT_US, Running, Say
from serving.identity import read_config
from serving.model_folder import changed
from serving.model_settings import Settings


class Renewal:
    """The change of one server's workers, from how they are now to ``settings``, which have ``threads``."""

    def __init__(self, server: Running, version: str, settings: Settings, say: Say) -> None:
        self._server, self._version, self._settings, self._say = server, version, settings, say
        entry, config = read_config(server.run.models / f"{server.name}.mar")
        self._file = server.client.folder(server.name, version) / entry
        self._before = self._file.read_bytes()
        self._old = {worker["id"]: worker["pid"] for worker in server.workers(version)}
        recorded = server.state.settings.get(server.name, {})
        self._recorded = int(recorded.get("workers", config.get("minWorkers", 1)))  # a killed verb may leave one more

    @property
    def threads(self) -> int:
        """The number before the change."""
        return int(yaml.safe_load(self._before)["archive"].get("threads", 0))

    def write(self) -> None:
        """Changes what workers read that load from now on."""
        config = changed(yaml.safe_load(self._before), {"threads": self._settings["threads"]}, DELAY_UNIT_US)
        self._put(yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode())

    def run(self) -> None:
        """Replaces the workers that were there before. Raises ServingError where a new one does not load."""
        self._replace(self._old, int(self._settings.get("workers", self._recorded)))

    def undo(self) -> None:
        """Leaves what was before. Workers that were there before stay, unless they were started again meanwhile. Raises
        ServingError."""
        self._put(self._before)
        new = {each["id"] for each in self._workers() if self._old.get(each["id"]) != each["pid"]}
        self._replace(new, self._recorded)

    def _workers(self) -> list[dict[str, Any]]:
        return self._server.workers(self._version)

    def _replace(self, leaving: Collection[str], wanted: int) -> None:
        client, name, version = self._server.client, self._server.name, self._version
        where = f" on {self._server.replica}" if self._server.replica else ""
        while left := sorted(
            (each for each in self._workers() if each["id"] in leaving), key=lambda each: each["status"] == "READY"
        ):
            if len(self._workers()) <= wanted:
                self._start_one()
            client.end_worker(name, version, left[0]["id"])
            self._say(f"worker {left[0]['id']}{where} has ended; {len(left) - 1} more to replace")
        if len(self._workers()) != wanted:
            client.change(name, version, workers=wanted)
            self._server.await_ready(version, self._say)

    def _start_one(self) -> None:
        before = {each["id"] for each in self._workers()}
        self._server.client.change(self._server.name, self._version, workers=len(before) + 1)
        self._server.await_ready(
            self._version, self._say, [each["id"] for each in self._workers() if each["id"] not in before]
        )

    def _put(self, content: bytes) -> None:
        partial = self._file.with_name(f".{self._file.name}.part")
        partial.write_bytes(content)
        shutil.copymode(self._file, partial)
        partial.replace(self._file)
