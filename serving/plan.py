"""The plan of a server: its archives with their digests, which of them this project did not build, and their
settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serving.auto_workers import automatic
from serving.chosen import Choices
from serving.environment import usable_cores
from serving.identity import identity, read_config
from serving.model_settings import ModelSettings, Settings
from serving.store import digest_file

NOT_OURS_ON_RAY = "was not built by this project, which Ray Serve needs: leave it out with MODELS=, or use TorchServe"


@dataclass(frozen=True)
class Plan:
    """``archives`` is {name: sha256}. ``foreign`` are the names of those that this project did not build, ``unchecked``
    of those without a digest file. ``settings`` are those of models.toml, for the archives that have some. ``notices``
    are lines for the user before the start."""

    store: Path
    archives: dict[str, str]
    foreign: list[str] = field(default_factory=list)
    settings: dict[str, Settings] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    @property
    def ours(self) -> list[str]:
        """The archives that this project built, which answer their own examples."""
        return [name for name in self.archives if name not in self.foreign]

    @classmethod
    def of(
        cls,
        store: Path,
        archives: Mapping[str, str],
        table: ModelSettings | None = None,
        choices: Choices | None = None,
        workers: int | None = None,
        servers: int = 1,
    ) -> Plan:
        """The plan for checked archives. The settings are those of ``table``, else of models.toml. ``choices`` selected
        the archives. ``workers``, if given, is the number of workers of every archive. Otherwise ``servers`` servers
        share the machine.

        Raises ServingError for a mistake in models.toml.
        """
        table = table or ModelSettings.load()
        choices = choices or Choices(table.path)
        found = [identity(store / f"{name}.mar") for name in archives]
        foreign = [each.name for each in found if not each.ours]
        settings = {each.name: table.of(each) for each in found if table.of(each)}
        given = {each.name: workers for each in found} if workers else _automatic(store, archives, settings, servers)
        unchecked = [name for name in foreign if not digest_file(store / f"{name}.mar").exists()]
        notices = [f"{name}.mar was not built by this project: served unchecked" for name in unchecked]
        notices += [f"{name}: {described(each)} ({table.path.name})" for name, each in settings.items()]
        reason = "WORKERS" if workers else "by this machine's cores and GPU memory; WORKERS= sets another number"
        notices += [f"{name}: workers {number} ({reason})" for name, number in given.items()]
        held = [identity(path) for path in sorted(store.glob("*.mar"))]
        notices += choices.notices(found, held)
        models = {each.model for each in held}
        notices += [
            f"{table.path.name}: [{model}] has serving settings, and {store.name} holds no archive of that model"
            for model in sorted({*table.unused(models), *choices.unused(models)})
        ]
        settings |= {name: {**settings.get(name, {}), "workers": number} for name, number in given.items()}
        return cls(store, dict(archives), foreign, settings, notices, unchecked)


def _automatic(
    store: Path, names: Iterable[str], settings: Mapping[str, Settings], servers: int
) -> dict[str, int]:
    """The number of workers of each archive for which the user gives none."""
    configs = {name: read_config(store / f"{name}.mar")[1] for name in names}
    found = automatic(configs, usable_cores(), servers)
    return {name: number for name, number in found.items() if "workers" not in settings.get(name, {})}


def described(settings: Settings) -> str:
    """Settings as text: "workers 2, batch delay 5 ms"."""
    return ", ".join(_in_words(key, value) for key, value in settings.items())


def _in_words(key: str, value: float) -> str:
    name, _, unit = key.rpartition("_")
    return f"{name.replace('_', ' ')} {value} {unit}" if unit in ("ms", "s") else f"{key.replace('_', ' ')} {value}"
