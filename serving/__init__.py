"""Starts, watches and stops TorchServe. Knows addresses, tokens and readiness, never models."""

import sys
from pathlib import Path

# The client is a package that other projects install (client/). Here it is imported from its folder, before any other
# of that name: nothing has to be installed, with .venv as with PYTHON=python3.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "client"))
