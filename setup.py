"""What pyproject.toml cannot say: the wheel carries the code of the verbs as data, in ``tsi/code``.

There it is on no import path. Were handlers/ a package of the environment, a worker could take it in place of the one
in its archive. An editable installation needs no copy: ``tsi`` then uses the checkout.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOMS = (
    "bench", "choose", "client/tsi_client", "deploy/ray", "deploy/triton", "export", "handlers", "loadtest", "openapi",
    "rollout", "serving",
)  # fmt: skip
FILES = ("config.properties", "constraints.txt", "pyproject.toml")
LEFT_OUT = shutil.ignore_patterns("*.py[co]", "results", "java", ".*")  # java: its classes are in front_end.jar


class WithCode(build_py):
    """Copies the code beside the package ``tsi``."""

    def run(self) -> None:
        """As setuptools does, and the copy."""
        super().run()
        if not self.editable_mode:
            to = Path(self.build_lib) / "tsi" / "code"
            shutil.rmtree(to, ignore_errors=True)
            for room in ROOMS:
                shutil.copytree(room, to / room, ignore=LEFT_OUT)
            for file in FILES:
                shutil.copy(file, to)


if __name__ == "__main__":
    setup(cmdclass={"build_py": WithCode})
