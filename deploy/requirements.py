"""``python deploy/requirements.py EXTRAS``: what pyproject.toml asks for, one a line, for ``pip install -r``.

pip checks no digest of a folder, so ``pip install .`` and ``--require-hashes`` exclude each other; the project itself
has no packages to install. Runs before anything is installed, on Python 3.10, which has no TOML reader: the two tables
are read as the Python that they are as well.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def requirements(extras: list[str]) -> list[str]:
    """The project's own dependencies and those of the extras. Raises KeyError for an extra that it has not."""
    text = PYPROJECT.read_text()
    own = ast.parse(re.search(r"^dependencies = \[.*?^\]$", text, re.MULTILINE | re.DOTALL)[0])
    optional = ast.parse(re.search(r"^\[project\.optional-dependencies\]\n(.*?)^\[", text, re.MULTILINE | re.DOTALL)[1])
    tables = {each.targets[0].id: ast.literal_eval(each.value) for each in (*own.body, *optional.body)}
    return list(dict.fromkeys(line for name in ("dependencies", *extras) for line in tables[name]))


if __name__ == "__main__":
    print(*requirements(re.findall(r"[^,\s]+", " ".join(sys.argv[1:]))), sep="\n")
