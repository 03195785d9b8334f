"""Starts, watches and stops TorchServe. Knows addresses, tokens and readiness, never models."""

import sys
from pathlib import Path

# Other projects install the client (client/). Here it is imported from its folder, before any installed package of that
# name. So it needs no installation, with .venv as with PYTHON=python3.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "client"))
