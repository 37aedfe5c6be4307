"""Progress where the output is not a terminal."""

import pytest

from mot_core.cli import terminal
from mot_core.cli.terminal import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(terminal.time, "monotonic", lambda: Clock.now)
    return Clock


@pytest.mark.parametrize(("total", "of"), [(70, " of 70"), (0, "")])
def test_a_line_every_30_seconds(capsys, clock, total, of):
    with Progress(total) as progress:
        for name, frames in (("park", 40), ("street", 30)):
            progress.describe(f"tracking {name}")
            for _ in range(frames):
                clock.now += 1
                progress.advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"mot: tracking park: frame 30{of}, 30 s", f"mot: tracking street: frame 60{of}, 60 s"]


def test_no_line_for_a_short_run(mot, scenes, tmp_path):
    done = mot("track", scenes, "--tracker", "sort", "--benchmark", "generic", "--output", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
