"""The correction of TorchServe's front end: what it needs to find, and that it leaves an unknown class alone."""

import zipfile

from serving import front_end


def test_the_installed_torchserve_can_be_corrected(tmp_path):
    assert front_end.correct(tmp_path)
    code = (tmp_path / front_end.CLASS).read_bytes()
    assert code[:4] == b"\xca\xfe\xba\xbe"
    assert not any(front_end._constant(old) in code for old in front_end.EXCHANGED)


def test_another_class_is_left_alone(tmp_path, monkeypatch):
    jar = tmp_path / "other.jar"
    with zipfile.ZipFile(jar, "w") as made:
        made.writestr(front_end.CLASS, b"\xca\xfe\xba\xbe something else")
    monkeypatch.setattr(front_end, "_jar", lambda: jar)
    assert not front_end.correct(tmp_path)
    assert not (tmp_path / front_end.CLASS).exists()
