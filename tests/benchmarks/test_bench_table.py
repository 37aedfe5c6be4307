import pytest

from benchmarks.association import table


def row(package, tracker, stream, speed):
    return {
        "package": package,
        "tracker": tracker,
        "stream": stream,
        "frames_per_second": speed,
        "p50_ms": [1.0],
        "p95_ms": [2.0],
        "HOTA": 60.04,
        "IDF1": 70.0,
        "IDSW": 1234,
    }


@pytest.fixture
def report():
    about = {"python": "3.11", "versions": {"thing": "1.2"}, "trackers": {"ByteTrack": {"a": "x|y", "noise": "n" * 99}}}
    return {
        "date": "2026-11-21T10:00:00+00:00",
        "commit": "abc1234",
        "machine": {"cpu": "A CPU", "cores": 2, "system": "Linux x86_64"},
        "runs": 3,
        "memory_frames": 10_000,
        "memory_stream": "47",
        "streams": {
            "6": {"description": "sparse", "frames": 100, "density": 5.9},
            "47": {"description": "dense", "frames": 50, "density": 47.2},
        },
        "packages": {"mot_core": about, "roboflow": about, "boxmot": about, "norfair": {"unavailable": "no numpy<2"}},
        "results": [
            row("mot_core", "ByteTrack", "47", [3900.0, 4100.0, 4000.0]),
            row("mot_core", "SORT", "47", [9000.0]),
            row("roboflow", "ByteTrack", "47", [1000.0]),
            row("boxmot", "ByteTrack", "47", [200.0]),
            row("boxmot", "ByteTrack, C++", "47", [2000.0]),
            row("boxmot", "SFSORT", "47", [5000.0]),
            row("roboflow", "ByteTrack", "6", [1500.0]),
        ],
        "memory": [{"package": "boxmot", "tracker": "SFSORT", "growth_mib": 0.25, "end_mib": 99.6, "peak_mib": 101.0}],
    }


def test_rendered_table(report):
    text = table.render(report)
    assert "| **mot-core** · ByteTrack | - | 4,000 |" in text  # the median, and no run at 6
    assert "| roboflow trackers · ByteTrack | 1,500 | 1,000 |" in text
    assert "| 60.0 / 70.0 / 1,234 |" in text
    assert "| BoxMOT · SFSORT | 0.2 | 100 | 101 |" in text
    assert "| Norfair | not measured | no numpy<2 |" in text
    assert "a=x\\|y, noise=(see the result file)" in text


def test_ratio_to_the_fastest_peer(report):
    text = table.render(report)
    assert "ByteTrack of a peer, in Python: 4.0x at 47 (roboflow trackers)." in text
    assert "ByteTrack of a peer, compiled ones included: 2.0x at 47 (BoxMOT)." in text
    report["results"] = [row for row in report["results"] if row["tracker"] != "ByteTrack, C++"]
    assert "compiled" not in table.render(report)


def test_refresh_keeps_the_text(report, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n\n<!-- association: begin -->\nold\n<!-- association: end -->\n\nafter\n")
    table.refresh(report, readme)
    table.refresh(report, readme)
    head, tail = readme.read_text().split(table.render(report))
    assert head == "before\n\n<!-- association: begin -->\n\n"
    assert tail == "\n\n<!-- association: end -->\n\nafter\n"


def test_missing_result_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"speed.json does not exist; measure first: python -m benchmarks"):
        table.read(tmp_path / "speed.json")


def test_readme_has_the_newest_result():
    report = table.read()
    assert table.render(report) in table.README.read_text(encoding="utf-8"), "run benchmarks.association.speed --table"
