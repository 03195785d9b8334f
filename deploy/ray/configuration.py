"""The configuration of Ray Serve for the chosen archives: an application for each, and one in front of them.

Knows the project's settings and the form of Serve's file. Imports Ray only for its schema, which checks the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from deploy.ray.settings import address
from serving.config import LARGEST_REQUEST, OPEN_PING, TOKEN_FILE, Config
from serving.errors import ServingError
from serving.identity import read_config
from serving.plan import NOT_OURS_ON_RAY, Plan

FRONT, PREFIX = "_front", "deploy.ray.app"
FRONT_CPUS = 0.1
SPARE = 16  # least number of requests that a replica accepts; beyond it, Ray retries the routing with pauses
QUEUE = 100
MOST_REPLICAS = 4  # times the plan's replicas, where Ray scales


@dataclass(frozen=True)
class Layout:
    """``cpus`` is the number of cores that Ray reserves for a replica. ``scales``: whether Ray adds replicas with the
    load. ``key_file`` has the token that expires; empty for none. Each of ``nodes`` machines has a front. ``watch`` has
    the front's settings for metrics, request log and traces (settings.py)."""

    plan: Plan
    config: Config
    cpus: float
    scales: bool = False
    key_file: str = ""
    nodes: int = 1
    watch: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The whole configuration. Raises ServingError."""
        from ray.serve.schema import ServeDeploySchema

        host, port = address(self.config, "inference_address")
        found = {
            "proxy_location": "EveryNode",
            "http_options": {"host": host, "port": port},
            "logging_config": {"enable_access_log": False},
            "applications": [self._front(), *map(self._model, self.plan.archives)],
        }
        ServeDeploySchema.model_validate(found)
        return found

    def _front(self) -> dict[str, Any]:
        properties = self.config.properties
        required = properties.get("disable_token_authorization") != "true"
        token_file = str(self.config.token_file or "")
        if required and not (token_file or self.key_file):
            raise ServingError(
                f"{self.config.path} names no {TOKEN_FILE}, and only one machine knows a token that expires; "
                f"write {TOKEN_FILE}=/a/file/on/every/machine, made with: openssl rand -hex 32"
            )
        args = {
            "tokens": {"required": required, "key_file": self.key_file, "token_file": token_file},
            "limits": {"largest": int(properties.get(*LARGEST_REQUEST))},
            "open_ping": properties.get(OPEN_PING) == "true",
            "watch": self.watch,
        }
        # One on each machine: the proxy asks the front of its own machine, so a refusal needs no other machine.
        options: dict[str, Any] = {"name": "Front", "num_replicas": self.nodes, "max_replicas_per_node": 1,
                                   "ray_actor_options": {"num_cpus": FRONT_CPUS}}  # fmt: skip
        return {"name": FRONT, "route_prefix": "/", "import_path": f"{PREFIX}:front", "args": args,
                "deployments": [options]}  # fmt: skip

    def _model(self, name: str) -> dict[str, Any]:
        if name in self.plan.foreign:
            raise ServingError(f"{name}.mar {NOT_OURS_ON_RAY}")
        path = self.plan.store / f"{name}.mar"
        config, settings = read_config(path)[1], dict(self.plan.settings.get(name, {}))
        workers = int(settings.pop("workers", 0) or config.get("minWorkers") or 1)
        batch = int(settings.get("batch_size") or config.get("batchSize") or 1)
        queue = int(settings.pop("queue", 0) or config.get("jobQueueSize") or self._queue())
        options: dict[str, Any] = {
            "name": "Model", "max_ongoing_requests": max(SPARE, 2 * batch), "max_queued_requests": queue,
            "ray_actor_options": {"num_cpus": self.cpus, **_gpus(config, workers)},
        }  # fmt: skip
        if self.scales:
            options["autoscaling_config"] = {"min_replicas": workers, "max_replicas": MOST_REPLICAS * workers,
                                             "target_ongoing_requests": 2 * batch}  # fmt: skip
        else:
            options["num_replicas"] = workers
        args = {"archive": str(path), "digest": self.plan.archives[name], "settings": settings}
        return {"name": name, "route_prefix": None, "import_path": f"{PREFIX}:model", "args": args,
                "deployments": [options]}  # fmt: skip

    def _queue(self) -> int:
        return int(self.config.properties.get("job_queue_size") or QUEUE)


def _gpus(config: dict[str, Any], workers: int) -> dict[str, float]:
    """A replica's part of a GPU: the workers of an archive share one."""
    return {"num_gpus": round(1 / workers, 4)} if config.get("deviceType") == "gpu" else {}


def share(plan: Plan, cores: int) -> float:
    """Cores of one replica such that all replicas of the plan fit on a machine with ``cores`` cores."""
    replicas = sum(int(plan.settings.get(name, {}).get("workers") or 1) for name in plan.archives)
    return max(0.01, min(1.0, round((cores - FRONT_CPUS) / max(1, replicas) - 0.005, 2)))
