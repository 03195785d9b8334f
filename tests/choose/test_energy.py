"""Joules from counters that wrap around, and None where no counter can be read."""

from choose import energy
from choose.energy import Reading
from serving import nvml


def test_joules_are_those_of_all_sources_and_a_counter_may_wrap():
    before = Reading(100.0, {"intel-rapl:0": (990.0, 1000.0), "intel-rapl:1": (5.0, 1000.0)})
    after = Reading(130.0, {"intel-rapl:0": (15.0, 1000.0)})
    assert after.since(before) == 30.0 + 25.0
    assert Reading(None, {}).since(before) is None


def test_packages_count_once_and_what_may_not_be_read_is_left_out(tmp_path, monkeypatch):
    for name in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "max_energy_range_uj").write_text("262143328850\n")
    for name in ("intel-rapl:0", "intel-rapl:0:0"):
        (tmp_path / name / "energy_uj").write_text("2500000\n")
    monkeypatch.setattr(energy, "RAPL", tmp_path)
    monkeypatch.setattr(nvml, "LIBRARY", "no-such-library.so")
    assert energy.read() == Reading(None, {"intel-rapl:0": (2.5, 262143.32885)})
    assert energy.gpu_memory_mib() is None and energy.gpu_memory_since(None) is None
