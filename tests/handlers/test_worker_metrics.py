"""The gauge of the last batch's time is written once a second; other metrics always."""

from handlers import worker_metrics


class Metrics:
    def __init__(self):
        self.written = []

    def add_time(self, name, value, unit="ms"):
        self.written.append((name, value, unit))


def test_the_gauge_is_written_once_a_second_and_others_always(monkeypatch):
    clock, metrics = iter([10.0, 10.5, 10.99, 11.0, 11.5, 12.1]), Metrics()
    monkeypatch.setattr(worker_metrics.time, "monotonic", lambda: next(clock))
    worker_metrics.thin_out(metrics)
    for value in range(6):
        metrics.add_time("PredictionTime", value)
        metrics.add_time("Other", value, unit="s")
    assert [value for name, value, _ in metrics.written if name == "PredictionTime"] == [0, 3, 5]
    assert [value for name, value, unit in metrics.written if unit == "s"] == list(range(6))


def test_no_metrics_is_no_fault():
    worker_metrics.thin_out(None)
