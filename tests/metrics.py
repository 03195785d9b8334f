"""Reads the text of a server's /metrics, for tests that need single figures."""

from __future__ import annotations

import re

import requests

from serving.config import Config

SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')


def text(config: Config) -> str:
    """The text that Prometheus would get, without a token."""
    reply = requests.get(f"{config.metrics}/metrics", timeout=30)
    assert reply.status_code == 200
    return reply.text


def value(config: Config, name: str, **labels: str) -> float:
    """The sum of the metric's samples with these labels; 0 if there is none."""
    found = SAMPLE.findall(text(config))
    return sum(float(number) for named, given, number in found
               if named == name and labels.items() <= dict(LABEL.findall(given)).items())  # fmt: skip
