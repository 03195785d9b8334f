"""The import that patches the standard library: it patches what Locust patches, and looks for plugins once."""

import os
import subprocess
import sys

from tests.conftest import ROOT

PROGRAM = """
from importlib import metadata
before, reads = metadata.entry_points, []
metadata.distributions, all_of_them = lambda **of: (reads.append(of), all_of_them(**of))[1], metadata.distributions
import {module}
from gevent.monkey import is_module_patched
assert metadata.entry_points is before
print(len(reads), all(map(is_module_patched, ("socket", "ssl", "subprocess", "threading", "time", "queue"))))
"""


def ran(module, folder):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.format(module=module)], cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip


def test_plugins_are_looked_for_once_and_told(tmp_path):
    plugin = tmp_path / "plugin-1.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    (plugin / "entry_points.txt").write_text("[gevent.plugins.monkey.did_patch_all]\nmine = plugin:told\n")
    (tmp_path / "plugin.py").write_text("def told(event):\n    print('told')\n")
    by_itself, (told, seen) = ran("locust", tmp_path), ran("loadtest.patches", tmp_path)
    assert by_itself[0] == told == "told"
    reads, patched = seen.split()
    assert patched == by_itself[1].split()[1] == "True"
    assert int(reads) < 5 < int(by_itself[1].split()[0])
