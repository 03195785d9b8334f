"""The process that holds Ray and its applications on one machine; started by ``make serve ENGINE=ray``.

Ray's processes end with it. It renews the token of the key file. Its argument is a file that lists what to serve.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve.schema import LoggingConfig

from deploy.ray.front import Front
from deploy.ray.model import Model
from deploy.ray.tokens import renew

OBJECT_STORE_BYTES = 128 << 20  # for requests and answers larger than 100 kB
EVERY_S = 1.0


def main(path: str) -> None:
    """Serves until SIGTERM."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    asked = json.loads(Path(path).read_text())
    key_file, minutes = Path(asked["key_file"]), float(asked["token_minutes"])
    due = renew(key_file, minutes)
    try:
        _start(asked)
        while True:
            if time.time() > due:
                due = renew(key_file, minutes)
            time.sleep(EVERY_S)
    except SystemExit:
        serve.shutdown()
        raise
    finally:
        ray.shutdown()


def _start(asked: dict[str, Any]) -> None:
    document = asked["document"]
    ray.init(
        address="local", num_cpus=asked["cores"], object_store_memory=OBJECT_STORE_BYTES, include_dashboard=False,
        _temp_dir=asked["temp"], log_to_driver=True,
    )  # fmt: skip
    logging = LoggingConfig(**document["logging_config"])
    serve.start(http_options=document["http_options"], logging_config=logging)
    targets = [_target(each, logging) for each in document["applications"]]
    serve.run_many(targets, wait_for_applications_running=False)


def _target(application: dict[str, Any], logging: LoggingConfig) -> serve.RunTarget:
    [options] = application["deployments"]
    build = {"front": Front, "model": Model}[application["import_path"].partition(":")[2]]
    bound = build.options(**options).bind(**application["args"])  # type: ignore[attr-defined]
    return serve.RunTarget(bound, application["name"], application["route_prefix"], logging_config=logging)


def _end(number: int, frame: object) -> None:
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
