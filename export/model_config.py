"""Writes model-config.yaml and checks its keys, since TorchServe silently ignores a misspelt key.

Knows TorchServe's keys (ModelConfig.java, 0.12.0) and the section ``archive``, which is for the handlers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from export.catalog import Row

TORCHSERVE_KEYS = frozenset({
    "minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout", "startupTimeout", "deviceType",
    "parallelType", "parallelLevel", "deviceIds", "torchrun", "maxRetryTimeoutInSec", "clientTimeoutInMills",
    "jobQueueSize", "useJobTicket", "sequenceMaxIdleMSec", "sequenceTimeoutMSec", "maxSequenceJobQueueSize",
    "maxNumSequence", "continuousBatching", "sequenceBatching", "asyncCommunication", "useVenv",
})  # fmt: skip

# TorchServe stops restarting a worker after this many seconds. It multiplies the number by 1000 in 32 bits. This is the
# largest number for which the product is positive, 24 days.
NEVER_GIVE_UP_S = (2**31 - 1) // 1000


def model_config(row: Row, device: str, archive: dict[str, Any], response_timeout_s: int) -> dict[str, Any]:
    """The content of model-config.yaml: TorchServe's settings of the row, and ``archive`` for the handler."""
    serving = row.model.serving
    return {
        "minWorkers": serving.workers,
        "maxWorkers": serving.workers,
        "batchSize": row.batch(device),
        "maxBatchDelay": serving.batch_delay_us,
        "responseTimeout": response_timeout_s,
        "startupTimeout": serving.startup_timeout_s,
        "maxRetryTimeoutInSec": NEVER_GIVE_UP_S,
        "deviceType": device,
        "archive": archive,
    }


def unknown_keys(config: dict[str, Any]) -> list[str]:
    """Top-level keys that neither TorchServe nor the handlers read."""
    return sorted(set(config) - TORCHSERVE_KEYS - {"archive"})


def write(config: dict[str, Any], path: Path) -> None:
    """Writes the config with a stable key order. Raises ValueError for an unknown key."""
    if unknown := unknown_keys(config):
        raise ValueError(f"model-config.yaml has keys that TorchServe ignores: {', '.join(unknown)}")
    path.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
