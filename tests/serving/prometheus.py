"""A real Prometheus with the files of deploy/monitoring, which scrapes a server every half second."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import yaml

from serving.config import Config
from tests.conftest import ROOT, free_ports
from tests.trust.place import eventually

MONITORING = ROOT / "deploy" / "monitoring"
EVERY = "500ms"


class Prometheus:
    """Prometheus' query API."""

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an API call, which must succeed."""
        reply = requests.get(f"{self._url}/api/v1/{path}", params=parameters, timeout=10)
        assert reply.status_code == 200, reply.text
        return reply.json()["data"]

    def samples(self, query: str) -> list[dict[str, Any]]:
        """The series that the query finds now."""
        return self.get("query", query=query)["result"]

    def value(self, query: str) -> float:
        """The sum of the query's values; 0 without any."""
        return sum(float(each["value"][1]) for each in self.samples(query))

    def values(self, *queries: str) -> list[float]:
        """The value of each query, from a scrape that begins after this call."""
        asked = time.time()
        eventually(lambda: self.value('timestamp(up{job="torchserve"})') > asked)
        return [self.value(query) for query in queries]

    def ready(self) -> bool:
        try:
            return requests.get(f"{self._url}/-/ready", timeout=5).ok
        except requests.ConnectionError:
            return False


@contextmanager
def prometheus(program: str, config: Config, folder: Path, every: str = EVERY) -> Iterator[Prometheus]:
    """Runs ``program`` with the committed config. Only the server's address and the interval of scrapes differ; the
    interval is also the timeout of a scrape."""
    settings = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    settings["global"] = {"scrape_interval": every, "evaluation_interval": every}
    settings["scrape_configs"][0]["static_configs"][0]["targets"] = [urlsplit(config.metrics).netloc]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    shutil.copy(MONITORING / "rules.yml", folder)
    address = f"127.0.0.1:{free_ports(1)[0]}"
    flags = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", "--log.level=warn"]
    with subprocess.Popen([program, *flags, f"--web.listen-address={address}"]) as running:
        made = Prometheus(f"http://{address}")
        try:
            eventually(made.ready)
            yield made
        finally:
            running.terminate()
