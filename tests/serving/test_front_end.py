"""The corrected front end: that the names are found in the TorchServe installed here, and what happens where not."""

import zipfile

from serving import front_end


def test_the_installed_torchserve_is_one_that_can_be_corrected(tmp_path):
    assert front_end.correct(tmp_path) == list(front_end.CORRECTIONS)
    for name, exchanged in front_end.CORRECTIONS.items():
        code = (tmp_path / name).read_bytes()
        assert code.startswith(b"\xca\xfe\xba\xbe")
        for old, new in exchanged.items():
            assert front_end._constant(old) not in code
            assert front_end._constant(new) in code


def test_a_class_that_looks_otherwise_is_left_as_it_is_and_an_earlier_correction_of_it_removed(tmp_path, monkeypatch):
    jar = tmp_path / "other.jar"
    with zipfile.ZipFile(jar, "w") as made:
        for name in front_end.CORRECTIONS:
            made.writestr(name, b"\xca\xfe\xba\xbe something else")
    front_end.correct(tmp_path)
    monkeypatch.setattr(front_end, "_jar", lambda: jar)
    assert front_end.correct(tmp_path) == []
    assert not any((tmp_path / name).exists() for name in front_end.CORRECTIONS)
