"""Prints the configuration of Ray Serve for a cluster: ``python -m deploy.ray > serve.yaml`` (docs/ray.md).

MODELS, VARIANTS, MODEL_STORE and CONFIG choose as they do for ``make serve``. NODES is the number of machines.
"""

from __future__ import annotations

import os
import sys

import yaml

from deploy.ray.configuration import Layout
from deploy.ray.settings import check, watch
from serving.config import Config
from serving.errors import ServingError
from serving.serve import chosen_plan


def main() -> int:
    """Prints the configuration. Returns 1, with a sentence, if Ray Serve cannot serve the chosen archives."""
    try:
        plan, config = chosen_plan(), Config.load()
        for notice in check(config, plan):
            print(notice, file=sys.stderr)
        told = watch(config, os.environ, None)
        document = Layout(plan, config, cpus=1, scales=True, nodes=_nodes(), watch=told).document()
    except ServingError as error:
        print(error, file=sys.stderr)
        return 1
    print(yaml.safe_dump(document, sort_keys=False), end="")
    return 0


def _nodes() -> int:
    given = os.environ.get("NODES") or "1"
    if not given.isdecimal() or int(given) < 1:
        raise ServingError(f"NODES={given} is not a whole number above 0; write the number of machines, as in NODES=3")
    return int(given)


if __name__ == "__main__":
    sys.exit(main())
