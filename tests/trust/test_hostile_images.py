"""Hostile images over HTTP: each is refused at once, and its batch is answered. The cost of accepted images is
bounded."""

from __future__ import annotations

import base64
import io
import json
import threading
from contextlib import contextmanager

import psutil
import pytest
from PIL import Image

from handlers.image_structure.file import BYTES_PER_PIXEL
from tests.trust import costly_images
from tests.trust.figures import record
from tests.trust.fuzz.case import Case
from tests.trust.fuzz.good import DIGITS
from tests.trust.fuzz.sender import Sender
from tests.trust.hostile_images import hostile

pytestmark = pytest.mark.served
IMAGE = "digits-torchscript"
# The bounds also hold on a machine three times slower than the one of the figures.
REFUSED_CPU_SECONDS = 0.5
TIMES_AS_LONG = 300
MEMORY = 1.3 * BYTES_PER_PIXEL * costly_images.LIMIT


@pytest.fixture
def sender(served):
    sender = Sender(served.config.inference, served.client, 8)
    yield sender
    sender.close()


@pytest.fixture
def worker(served):
    """The image archive's only worker; it must survive the test."""
    (found,) = served.client.workers(IMAGE)
    yield psutil.Process(int(found["pid"]))
    assert [int(each["pid"]) for each in served.client.workers(IMAGE)] == [int(found["pid"])]


@contextmanager
def memory_peaks(worker, found, every_s=0.002):
    """Appends to ``found`` the largest growth of the worker's memory within the block, in bytes.

    It is sampled, since the kernel's own high-water mark includes earlier tests and the model's loading.
    """
    before = worker.memory_info().rss
    samples, over = [before], threading.Event()

    def watch():
        while not over.wait(every_s):
            samples.append(worker.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    found.append(max(samples) - before)


@contextmanager
def cpu_seconds(worker, found):
    """Appends to ``found`` the worker's CPU seconds within the block."""
    before = worker.cpu_times()
    yield
    after = worker.cpu_times()
    found.append(after.user + after.system - before.user - before.system)


def case(body, content_type="application/octet-stream"):
    return Case("image", f"/predictions/{IMAGE}", body, content_type)


def refused(reply, says):
    assert 400 <= reply.status < 500 and says in json.loads(reply.body)["message"], reply


@pytest.mark.parametrize("name", hostile())
def test_a_hostile_image_is_refused_at_once_and_its_batch_is_answered(sender, worker, name):
    data, says = hostile()[name]
    digits = [(label, case(body)) for label, body in list(DIGITS.items())[:7]]
    took: list[float] = []
    with cpu_seconds(worker, took):
        first, *others = sender.send_all([case(data), *[each for _, each in digits]])
    refused(first, says)
    for (label, _), reply in zip(digits, others, strict=True):
        assert reply.status == 200 and json.loads(reply.body)["predictions"][0]["label"] == label
    record(f"hostile image: {name}", status=first.status, cpu_seconds=round(took[0], 3), answered=len(others))
    assert took[0] < REFUSED_CPU_SECONDS + 7 * 0.1


def test_images_are_counted_by_their_headers(sender, worker):
    """61 JPEG files of 49 megapixels, which are decoded at an eighth of their size, and a 16-bit PNG of as many."""
    file = io.BytesIO()
    Image.new("L", (7_000, 7_000), 255).save(file, "JPEG", optimize=True)
    many = json.dumps({"image": [base64.b64encode(file.getvalue()).decode()] * 61}).encode()
    deep = costly_images.rows(49_000_000, 1, 16, 0)
    took: list[float] = []
    with cpu_seconds(worker, took):
        refused(sender.send(case(many, "application/json")), "together")
        refused(sender.send(case(deep)), "counts 1.33 times")
    assert took[0] < REFUSED_CPU_SECONDS


def test_the_costliest_image_costs_no_more_than_promised(sender, worker):
    plain, times, peaks, repeats = costly_images.typical(), [], [], 20
    with cpu_seconds(worker, times):
        for _ in range(repeats):
            assert sender.send(case(plain)).status in (200, 400)
    for name in ("PNG, transparent colour", "PNG, 16-bit grey"):
        file = costly_images.MAKERS[name]()
        with cpu_seconds(worker, times), memory_peaks(worker, peaks):
            assert sender.send(case(file)).status in (200, 400)
    ordinary, costliest, memory = times[0] / repeats, max(times[1:]), max(peaks)
    record("the costliest image", ordinary_cpu_ms=round(ordinary * 1e3, 1), costliest_cpu_ms=round(costliest * 1e3),
           times_as_long=round(costliest / ordinary, 1), peak_mb=round(memory / 1e6))  # fmt: skip
    assert costliest < TIMES_AS_LONG * ordinary and memory < MEMORY
