"""`mot track --link`, `--interpolate`, `--smooth` and `--mark-interpolated`."""

import numpy as np
import yaml

from mot_core.association import Sort


def test_interpolation_flags(mot, scenes, tmp_path):
    """Filled boxes lie on a line, have the mark 1, and leave the others as they were; without flags nothing changes."""
    arguments = ("track", scenes, "--benchmark", "generic", "--tracker", "botsort")
    assert mot(*arguments, "--output", tmp_path / "plain").code == 0
    assert mot(*arguments, "--interpolate", "20", "--mark-interpolated", "--output", tmp_path / "filled").code == 0
    added = 0
    for path in sorted((tmp_path / "plain").glob("*.txt")):
        plain = [line.removesuffix(",-1") for line in path.read_text().splitlines()]
        filled = [line.rsplit(",", 1) for line in (tmp_path / "filled" / path.name).read_text().splitlines()]
        assert sorted(line for line, mark in filled if mark == "0") == sorted(plain)
        assert {mark for _, mark in filled} <= {"0", "1"}
        added += len(filled) - len(plain)
    assert added > 0
    assert mot(*arguments, "--interpolate", "20", "--smooth", "--output", tmp_path / "smooth").code == 0
    smooth = [len(path.read_text().splitlines()) for path in sorted((tmp_path / "smooth").glob("*.txt"))]
    assert smooth == [len(path.read_text().splitlines()) for path in sorted((tmp_path / "filled").glob("*.txt"))]
    wrong = mot(*arguments, "--interpolate", "-1", "--output", tmp_path / "wrong")
    assert (wrong.code, "expected a number of frames, 0 or more, got '-1'" in wrong.err) == (2, True)


def test_link_flag(mot, scenes, tmp_path):
    """`--link` only changes identities, which become fewer; 0 changes nothing; the run record has the steps."""
    # Tracks of one frame are kept, so that many tracks break where objects are occluded.
    arguments = ("track", scenes, "--benchmark", "generic", "--tracker", "sort", "--max-age", "1", "--min-hits", "0")
    for name, flags in (("plain", ()), ("zero", ("--link", "0")), ("linked", ("--link", "30", "--interpolate", "5"))):
        assert mot(*arguments, *flags, "--mark-interpolated", "--output", tmp_path / name).code == 0
    fewer = 0
    for path in sorted((tmp_path / "plain").glob("*.txt")):
        plain = [line.split(",") for line in path.read_text().splitlines()]
        assert (tmp_path / "zero" / path.name).read_text() == path.read_text()
        linked = [line.split(",") for line in (tmp_path / "linked" / path.name).read_text().splitlines()]
        kept = [row for row in linked if row[-1] == "0"]
        assert sorted((row[0], *row[2:]) for row in kept) == sorted((row[0], *row[2:]) for row in plain)
        assert len(linked) > len(kept)
        fewer += len({row[1] for row in plain}) - len({row[1] for row in linked})
    assert fewer > 0
    record = yaml.safe_load((tmp_path / "linked" / "run.yaml").read_text())
    assert record["offline"] == {"link": 30, "interpolate": 5, "mark_interpolated": True}
    assert yaml.safe_load((tmp_path / "zero" / "run.yaml").read_text())["offline"] == {"mark_interpolated": True}
    wrong = mot(*arguments, "--link", "1.5", "--output", tmp_path / "wrong")
    assert (wrong.code, "expected a number of frames, 0 or more, got '1.5'" in wrong.err) == (2, True)


def test_link_uses_the_gain_of_the_tracker(mot, scenes, tmp_path, monkeypatch):
    """A tracker with a method `link_gain` decides what is linked."""
    calls = []

    def refuse(given):
        calls.append(len(given.earlier))
        return np.full(len(given.earlier), -1.0)

    arguments = ("track", scenes, "--benchmark", "generic", "--tracker", "sort", "--max-age", "1", "--min-hits", "0")
    assert mot(*arguments, "--output", tmp_path / "plain").code == 0
    monkeypatch.setattr(Sort, "link_gain", lambda self: refuse, raising=False)
    assert mot(*arguments, "--link", "30", "--output", tmp_path / "refused").code == 0
    assert min(calls) > 0
    for path in (tmp_path / "plain").glob("*.txt"):
        assert (tmp_path / "refused" / path.name).read_text() == path.read_text()
