"""``python deploy/requirements.py EXTRAS``: prints the requirements of pyproject.toml, one per line, for ``pip install
-r``.

pip checks no digest of a folder, so ``pip install .`` and ``--require-hashes`` exclude each other; the project itself
has no packages to install. This runs before anything is installed, also on Python 3.10, which has no TOML reader. The
two tables are valid Python, so Python reads them.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def requirements(extras: list[str]) -> list[str]:
    """The project's own dependencies and those of the extras. Raises KeyError for an unknown extra."""
    tables = _lists(r"^(dependencies = \[.*?^\])$") | _lists(r"^\[project\.optional-dependencies\]\n(.*?)^\[")
    return list(dict.fromkeys(line for name in ("dependencies", *extras) for line in tables[name]))


def _lists(pattern: str) -> dict[str, list[str]]:
    """The named lists in the part of pyproject.toml that the pattern's group matches."""
    found = re.search(pattern, PYPROJECT.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None, f"pyproject.toml has no part that matches {pattern}"
    assigned = [each for each in ast.parse(found[1]).body if isinstance(each, ast.Assign)]
    return {ast.unparse(each.targets[0]): ast.literal_eval(each.value) for each in assigned}


if __name__ == "__main__":
    print(*requirements(re.findall(r"[^,\s]+", " ".join(sys.argv[1:]))), sep="\n")
