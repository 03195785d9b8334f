"""One comparison from beginning to end: archives, environments, measurements, result.

Knows the order of the steps. Each step is a separate module.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from compare import environments, plan, ranking, reference, servers
from compare.answers import LEAST_COSINE, LEAST_OF_VARIANTS, Vectors
from compare.contest import Contest, steps
from compare.errors import CompareError
from compare.measure import Visit
from compare.peers_table import BY_NAME
from compare.plan import SAME_FILE, Setting, Subject
from compare.request import Request, command
from export import catalog
from export.device import resolve_device
from export.list_models import variants_of
from export.options import read_options
from export.own_store import STORES, bring_up_to_date
from loadtest.load import cores
from loadtest.load.crew import Crew, processes
from loadtest.measure import provenance, result_file
from loadtest.measure.progress import StepProgress
from serving.environment import usable_cores

STORE = Path(os.environ.get("COMPARE_STORE") or STORES / "compare").resolve()
OURS_ANSWER = ("embedding",)


@dataclass
class Comparison:
    """The comparison of ``request``. ``variables`` are make's."""

    request: Request
    variables: Mapping[str, str]
    pythons: dict[str, Path] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def run(self) -> dict[str, Any]:
        """Measures, writes the result's JSON and returns it. Raises the errors that __main__ handles."""
        self.device = resolve_device(self.variables.get("DEVICE") or "auto")
        count = processes(0, self.request.clients, [])
        self.split = cores.here(count)
        facts = {**provenance.record(self.split), "command": command(self.variables)}
        variants = self._build()
        self._install()
        self.right = reference.of(self.request.model)
        self.folder = environments.HOME / "models" / self.request.model
        servers.unpack(STORE / f"{self.request.model}-{SAME_FILE}.mar", self.folder)
        able = len(self.split.server) or usable_cores()
        subjects = plan.subjects(self.request.peers, able, self.device, variants)
        with Crew(count, self.split) as crew:
            return self._contest(facts, subjects, crew)

    def _build(self) -> list[str]:
        """Brings the archives up to date, and returns the available variants. Raises CompareError."""
        model = catalog.model(self.request.model)
        fitting = [each for each in plan.CHOSEN[self.device] if each in variants_of(model, self.device)[0]]
        asked = {"MODEL": "", "MODELS": model.name, "VARIANTS": " ".join([SAME_FILE, *fitting])}
        failed = bring_up_to_date(STORE, read_options({**self.variables, **asked}))
        built = [name for name in [SAME_FILE, *fitting] if not failed.get(f"{model.name}-{name}")]
        if SAME_FILE not in built:
            raise CompareError(f"{model.name}-{SAME_FILE}, which all need, was not built; see the message above.")
        return built

    def _install(self) -> None:
        for name in self.request.peers:
            try:
                self.pythons[name] = environments.python_of(BY_NAME[name])
            except CompareError as error:
                self.refused[name] = str(error)

    def _contest(self, facts: dict[str, Any], subjects: list[Subject], crew: Crew) -> dict[str, Any]:
        able = [each for each in subjects if not each.peer or each.peer.name in self.pythons]
        progress = StepProgress(steps(able, self.request.rounds))
        contest = Contest(self.request, able, self._open, crew, progress.step)
        contest.refused |= {each.name: self.refused[each.peer.name] for each in subjects
                            if each.peer and each.peer.name in self.refused}  # fmt: skip
        try:
            contest.try_settings()
            contest.measure()
        finally:
            progress.close()
        result = self._result(facts, subjects, contest)
        self.request.out.parent.mkdir(parents=True, exist_ok=True)
        part = result_file.partial(self.request.out)
        part.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        part.replace(self.request.out)
        return result

    @contextmanager
    def _open(self, subject: Subject, setting: Setting) -> Iterator[Visit]:
        archive = f"{self.request.model}-{setting.variant}"
        least = LEAST_COSINE if setting.variant == SAME_FILE else LEAST_OF_VARIANTS
        if subject.peer is None:
            with servers.ours(self.request.model, setting, STORE, self.split) as running:
                yield Visit(running, archive, self.request.model, Vectors(self.right, OURS_ANSWER, least))
            return
        peer, log = subject.peer, environments.HOME / "logs" / f"{subject.name}.log"
        python = self.pythons[peer.name]
        with servers.peers(
            peer, setting, subject.example, python, self.folder, self.device, self.split, log
        ) as running:
            yield Visit(running, archive, self.request.model, Vectors(self.right, peer.answer, least), peer.form)

    def _result(self, facts: dict[str, Any], subjects: list[Subject], contest: Contest) -> dict[str, Any]:
        rows = [row for row in ranking.rows(contest.finals) if row["subject"] not in contest.refused]
        ours = [each.name for each in subjects if each.ours]
        peers = [each.name for each in subjects if not each.ours]
        return {
            "environment": facts, "model": self.request.model, "device": self.device,
            "clients": list(self.request.clients), "window_s": self.request.window_s, "rounds": self.request.rounds,
            "subjects": [self._described(each, contest) for each in subjects],
            "tried": ranking.tried(contest.tried), "rows": rows, "ratios": ranking.ratios(rows, ours, peers),
        }  # fmt: skip

    def _described(self, subject: Subject, contest: Contest) -> dict[str, Any]:
        peer = subject.peer
        said = (peer.said if peer else "make archive serve of this checkout") + (
            f"; its BERT example's padding to {peer.example['EXAMPLE_PADDING']} tokens, no setting changed"
            if peer and peer.example and subject.example
            else ""
        )
        return {
            "name": subject.name, "title": subject.title, "said": said, "same_file": subject.same_file,
            "pins": list(peer.pins) if peer else [], "settings": [asdict(each) for each in subject.settings],
            "installed": environments.versions(peer) if peer and peer.name in self.pythons else {},
            "not_measured": contest.refused.get(subject.name, ""),
        }  # fmt: skip
