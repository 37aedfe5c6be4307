"""`mot track --interpolate`, `--smooth` and `--mark-interpolated`."""


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
