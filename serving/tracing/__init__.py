"""The settings of tracing, from config.properties and OpenTelemetry's own variables: which requests, and to which
collector.

The front end makes the records (serving/front_end/java/frontend/Tracer.java), and export.py makes spans of them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlsplit

from serving.errors import ServingError

ENDPOINT, RATIO = "trace_endpoint", "trace_ratio"  # of config.properties
BASE, EXACT = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
SAMPLER, ARGUMENT = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
OFF = {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "none"}
# A request with a traceparent follows it. Of the others these shares are traced; None: the sampler's argument.
SHARES = {"parentbased_traceidratio": None, "parentbased_always_on": "1", "parentbased_always_off": "0"}
PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
PROGRAM = Path(__file__).with_name("export.py")


@dataclass(frozen=True)
class Tracing:
    """Requests are traced: those with a sampled ``traceparent``, and the share ``ratio`` of those without one.
    ``environment`` tells OpenTelemetry's SDK the collector."""

    ratio: float
    environment: Mapping[str, str]

    @classmethod
    def of(cls, properties: Mapping[str, str], environment: Mapping[str, str]) -> Tracing | None:
        """The settings of config.properties, else of the variables; None if there are to be no traces. Raises
        ServingError."""
        given = properties.get(ENDPOINT, "")
        named = given or environment.get(EXACT) or environment.get(BASE)
        if not named or (not given and any(environment.get(key, "").lower() == off for key, off in OFF.items())):
            return None
        name = ENDPOINT if given else EXACT if environment.get(EXACT) else BASE
        if urlsplit(named).scheme not in ("http", "https") or not urlsplit(named).netloc:
            raise ServingError(f"{name}={named} is no URL; write one, as in {name}=http://127.0.0.1:4318")
        if not _installed():
            raise ServingError(
                f"{name} asks for traces, which need OpenTelemetry; install it (pip install -c constraints.txt "
                f"opentelemetry-sdk opentelemetry-exporter-otlp-proto-http), or remove {name}."
            )
        path = given.rstrip("/") if urlsplit(given).path.rstrip("/") else f"{given.rstrip('/')}/v1/traces"
        return cls(_ratio(properties, environment), {EXACT: path} if given else {})

    def java_options(self) -> list[str]:
        """The front end's options."""
        return [
            f"-Dfrontend.tracer={quote(str(PROGRAM))}",
            f"-Dfrontend.python={quote(sys.executable)}",
            f"-Dfrontend.traceRatio={self.ratio}",
        ]


def _installed() -> bool:
    try:
        return all(find_spec(name) for name in PACKAGES)
    except ModuleNotFoundError:  # the parent package is missing
        return False


def _ratio(properties: Mapping[str, str], environment: Mapping[str, str]) -> float:
    if given := properties.get(RATIO):
        return _share(RATIO, given)
    sampler = environment.get(SAMPLER) or "parentbased_always_on"
    if sampler not in SHARES:
        raise ServingError(f"{SAMPLER}={sampler} is not known here; write one of {', '.join(SHARES)}")
    return _share(ARGUMENT, SHARES[sampler] or environment.get(ARGUMENT) or "1")


def _share(name: str, given: str) -> float:
    try:
        share = float(given)
    except ValueError:
        share = -1
    if not 0 <= share <= 1:
        raise ServingError(f"{name}={given} is no share of requests; write one from 0 to 1, as in {name}=0.1")
    return share
