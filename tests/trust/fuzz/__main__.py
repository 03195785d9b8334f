"""``make fuzz``: starts a server, sends FUZZ_REQUESTS requests drawn from SEED, prints a summary and writes OUT as
JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from export.catalog import CatalogError, rows
from export.device import DeviceError
from export.options import read_options
from export.own_store import STORES, NotBuiltError, bring_up_to_date
from export.weights import CheckpointError
from loadtest.errors import LoadTestError
from loadtest.measure import result_file
from loadtest.measure.provenance import machine
from serving.choice import names
from serving.client import Client
from serving.config import Config
from serving.state import RunDirectory
from tests.conftest import run, write_config
from tests.trust.fuzz.campaign import Campaign

VARIANTS = names(os.environ, "VARIANTS") or ["torchscript"]
MODELS = ("minilm", "digits")
STORE = STORES / "fuzz"


@dataclass(frozen=True)
class Settings:
    """The settings of a run."""

    requests: int
    seed: int
    out: Path

    @classmethod
    def load(cls) -> Settings:
        """Reads the environment. Raises LoadTestError."""
        out = result_file.chosen(os.environ, Path("docs/results/fuzz-cpu.json"))
        return cls(_whole("FUZZ_REQUESTS", 20_000, 1), _whole("SEED", 2026, 0), out)


def _whole(name: str, default: int, least: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or int(text) < least:
        raise LoadTestError(f"{name}={text} is not a whole number from {least}; write it as in {name}={default}.")
    return int(text)


def main() -> int:
    """Exit status: 0 when no promise was broken, 1 when one was, 2 when the run was impossible."""
    settings = Settings.load()
    chosen = {"MODELS": " ".join(MODELS), "VARIANTS": " ".join(VARIANTS), "DEVICE": "cpu"}
    if any(bring_up_to_date(STORE, read_options({**os.environ, **chosen})).values()):
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # KeyboardInterrupt: Hypothesis catches all others
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        config = write_config(Path(folder) / "config.properties", token_expiration_min="600")
        server = {**chosen, "CONFIG": str(config), "RUN_DIR": f"{folder}/run", "MODEL_STORE": str(STORE)}
        started = run("serving", "serve", **server)
        if started.returncode != 0:
            print(started.stderr.strip(), file=sys.stderr)
            return 2
        try:
            return _fuzz(settings, Config.load(config), RunDirectory(Path(folder) / "run"))
        finally:
            run("serving", "stop", **server)


def _fuzz(settings: Settings, config: Config, directory: RunDirectory) -> int:
    client = Client(config, directory.key_file)
    readers, viewers = ([row.name for row in rows([model], VARIANTS, "cpu")] for model in MODELS)
    campaign = Campaign(config.inference, client, readers, viewers)
    began, broken = time.monotonic(), ""
    with tqdm(total=settings.requests, unit=" requests", mininterval=5, dynamic_ncols=True) as bar:
        try:
            campaign.run(settings.requests, settings.seed, lambda sent: bar.update(min(sent, bar.total) - bar.n))
        except AssertionError as error:
            broken = str(error)
    result = _result(settings, campaign, time.monotonic() - began)
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    settings.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{broken}\n" if broken else "", end="", file=sys.stderr)
    print(_summary(result))
    return 1 if broken or result["worker_deaths"] else 0


def _result(settings: Settings, campaign: Campaign, seconds: float) -> dict[str, Any]:
    tally = campaign.tally
    asked = f"FUZZ_REQUESTS={settings.requests} SEED={settings.seed}"
    command = f"make fuzz {asked} VARIANTS='{' '.join(VARIANTS)}'"
    return {
        "environment": {**machine(), "command": command},
        "archives": sorted(campaign.pids),
        "requests": tally.total,
        "seconds": round(seconds, 1),
        "by_kind": {kind: dict(sorted(counts.items())) for kind, counts in sorted(tally.by_kind.items())},
        "good_requests": tally.by_kind["good"].total(),
        "responses_5xx": tally.faults["5xx"],
        "wrong_answers": tally.faults["wrong answer"],
        "other_faults": sum(tally.faults[each] for each in ("no answer", "bad error body", "CPU time")),
        "most_cpu_seconds_of_a_burst": round(campaign.cost.burst_s, 2),
        "most_cpu_seconds_of_a_request_sent_alone": {k: round(s, 2) for k, s in sorted(campaign.cost.by_kind.items())},
        "worker_deaths": campaign.deaths(),
    }


def _summary(result: dict[str, Any]) -> str:
    alone = result["most_cpu_seconds_of_a_request_sent_alone"]
    costliest = ", ".join(f"{kind} {seconds} s" for kind, seconds in alone.items())
    return (
        f"{result['requests']} requests in {result['seconds']} s, {result['good_requests']} of them good: "
        f"{result['responses_5xx']} answers of 5xx, {result['wrong_answers']} wrong answers, "
        f"{result['other_faults']} other faults, {result['worker_deaths']} worker deaths; the costliest burst took "
        f"{result['most_cpu_seconds_of_a_burst']} s of one process's CPU time; the costliest request of each kind, of "
        f"those sent alone: {costliest or 'none was'}"
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (CatalogError, DeviceError, CheckpointError, LoadTestError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except NotBuiltError as error:
        sys.exit(error.status)
    except KeyboardInterrupt:
        print("Interrupted; its server is stopped.", file=sys.stderr)
        sys.exit(130)
