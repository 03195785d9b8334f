"""The fault run: random faults under good and hostile requests, for an hour or for FAULT_SECONDS."""

import os
import random
import time
from contextlib import ExitStack

import pytest

from tests.trust.disk import small_disk
from tests.trust.fault_run import Crowd, Faults, judged, kinds, orphans
from tests.trust.figures import FULL, record
from tests.trust.fuzz.campaign import Campaign
from tests.trust.fuzz.case import Case, Reply
from tests.trust.fuzz.good import TEXTS, Golden
from tests.trust.place import place, reconfigure

SECONDS = float(os.environ.get("FAULT_SECONDS") or 3600)
SEED = int(os.environ.get("SEED") or 7)
READER, VIEWER = "minilm-torchscript", "digits-torchscript"
TIMEOUT_S = 10  # of a worker that hangs; then it is loaded again
ASKED = FULL or bool(os.environ.get("FAULT_SECONDS"))  # make exports it, empty where it is not set


@pytest.mark.served
@pytest.mark.skipif(not ASKED, reason="takes an hour: make faults, or FAULT_SECONDS=60")
def test_random_faults_under_load(store, tmp_path):
    """0 wrong answers, 0 processes left over, back within 30 s each time; a new start may take its usual time more."""
    dice = random.Random(SEED)
    with ExitStack() as stack:
        disk = None
        (tmp_path / "run").mkdir()
        if os.geteuid() == 0:
            disk = stack.enter_context(small_disk(tmp_path / "run", "256m"))
        server = stack.enter_context(place(tmp_path, store, [READER, VIEWER]))
        for name in (READER, VIEWER):
            reconfigure(server.store / f"{name}.mar", responseTimeout=TIMEOUT_S)
        began = time.monotonic()
        server.serve()
        start_s = time.monotonic() - began
        campaign = Campaign(server.config.inference, server.client, [READER], [VIEWER])
        faults = Faults(server, [READER, VIEWER], dice, start_s, disk)
        bag, end = list[str](), time.monotonic() + SECONDS
        with Crowd(campaign, SEED) as crowd:
            while time.monotonic() < end:
                bag = bag or dice.sample(kinds(disk is not None), k=len(kinds(disk is not None)))
                time.sleep(dice.uniform(0, 4))
                faults.strike(bag.pop())
        campaign.sender.close()
        left = orphans(server)
    record(
        "fault_run", seconds=round(SECONDS), seed=SEED, undisturbed_start_s=round(start_s, 1),
        faults=dict(faults.struck), slowest_back_s=faults.slowest, late=faults.late,
        requests=crowd.verdicts.total(), good_requests=crowd.good.total(), verdicts=dict(crowd.verdicts),
        verdicts_on_good=dict(crowd.good), wrong_answers=len(crowd.wrong), orphans=len(left),
    )  # fmt: skip
    assert (crowd.wrong, left, faults.late) == ([], [], [])
    assert crowd.good["right"] > SECONDS  # the run had a real load


class TestTheJudge:
    """The run can fail."""

    golden = Golden(lambda text: b'{"embedding": [1.0, 0.0]}')
    good = Case("good", body=b"x", golden=TEXTS[0])

    @pytest.mark.parametrize(
        ("reply", "verdict"),
        [
            (Reply(200, b'{"embedding": [1.0, 0.0]}', by_handler=True), "right"),
            (Reply(200, b'{"embedding": [0.0, 1.0]}', by_handler=True), "wrong answer"),
            (Reply(200, b'{"embedding": [1.0,', by_handler=True), "wrong answer"),
            (Reply(400, b'{"code": 400, "type": "BadRequestException", "message": "b"}'), "wrong answer"),
            (Reply(400, b'{"code": 400, "type": "InvalidKeyException", "message": "b"}'), "token refused"),
            (Reply(503, b""), "5xx"),
        ],
    )
    def test_verdicts(self, reply, verdict):
        assert judged(self.good, reply, self.golden) == verdict

    def test_a_missing_answer_does_not_count_as_wrong(self):
        assert judged(self.good, Reply(0, error="ConnectionError"), self.golden) == "no answer"
