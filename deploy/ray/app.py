"""The applications that a Serve configuration names: ``deploy.ray.app:front`` and, per archive,
``deploy.ray.app:model``."""

from __future__ import annotations

from typing import Any

from ray.serve import Application

from deploy.ray.front import Front
from deploy.ray.model import Model


def front(args: dict[str, Any]) -> Application:
    """The application that clients reach; ``args`` are those of Front."""
    return Front.bind(**args)  # type: ignore[attr-defined]  # the decorator makes it a deployment


def model(args: dict[str, Any]) -> Application:
    """An archive's application; ``args`` are those of Model."""
    return Model.bind(**args)  # type: ignore[attr-defined]
