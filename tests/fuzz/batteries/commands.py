"""The commands mot data check, track and eval on damaged sequences: an exit code and sentences, never a traceback."""

import contextlib
import io
import os

from fuzz.damage import damage_bytes, damage_rows, one_of
from mot_core.cli import main
from mot_core.io import make_scene


def case(rng, folder):
    scene = make_scene(num_objects=int(rng.integers(1, 5)), num_frames=int(rng.integers(2, 12)), image_size=(240, 320))
    root = scene.save(folder / "data", "street")
    for _ in range(rng.integers(0, 3)):
        _damage(rng, root)
    tracks = folder / "out"
    flags = one_of(rng, [[], ["--frames", "2-5"], ["--split", "half-val"]])
    tracker = one_of(rng, ["sort", "bytetrack", "ocsort"])
    checked = _run("data", "check", folder / "data", "--benchmark", "generic")
    tracked = _run("track", folder / "data", "--tracker", tracker, "--output", tracks, "--benchmark", "generic", *flags)
    scored = _run("eval", tracks, "--gt", folder / "data", "--benchmark", "generic", *flags)
    if checked == 0 and not flags and (root / "det/det.txt").is_file():
        assert tracked == 0, "mot data check accepts what mot track rejects"
        if (root / "gt/gt.txt").is_file() and (root / "gt/gt.txt").stat().st_size:
            assert scored == 0, "mot data check accepts what mot eval rejects"


def _damage(rng, root):
    files = [root / "seqinfo.ini", root / "gt/gt.txt", root / "det/det.txt"]
    path = one_of(rng, files)
    if not path.is_file():
        return
    kind = rng.integers(10)
    if kind == 0:
        path.write_bytes(damage_bytes(rng, path.read_bytes()))
    elif kind == 1:
        path.unlink()
        one_of(rng, [path.mkdir, lambda: os.mkfifo(path), lambda: path.symlink_to(path), lambda: None])()
    elif path.suffix == ".ini":
        text = path.read_text(errors="replace")
        key = one_of(rng, ["seqLength", "frameRate", "imWidth", "imHeight", "name"])
        value = one_of(rng, ["0", "-1", "999999999", "1e3", "x", "", "3", "nan"])
        path.write_text("\n".join(f"{key}={value}" if line.startswith(key) else line for line in text.splitlines()))
    else:
        path.write_bytes(damage_rows(rng, path.read_text(errors="replace"), ",").encode())


def _run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
    assert code in (0, 1, 2), f"exit code {code}"
    assert "Traceback" not in err.getvalue() + out.getvalue()
    if code == 2 or (code == 1 and arguments[0] != "data"):
        assert err.getvalue().strip(), f"mot {arguments[0]} ended with {code} and without a word"
    return code
