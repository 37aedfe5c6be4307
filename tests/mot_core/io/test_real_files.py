"""The real data pack: every file is read without an error, and the counts equal those of its README."""

import pytest

from mot_core.io import check, find_sequences, read_mot

FOLDERS = {  # sequences, frames, rows that count, identities, all rows, detections: README.md, "Counts"
    "MOT17/train": (4, 3141, 85894, 335, 163471, 151263),
    "MOT15/train": (9, 4635, 34134, 434, 37200, 45894),
    "DanceTrack/val": (15, 15401, 127617, 141, 127617, 138100),
    "SportsMOT/train": (15, 8578, 94547, 215, 94547, 0),
    "SportsMOT/val": (8, 5858, 58937, 88, 58937, 0),
    "BEE24/val": (3, 5508, 60995, 236, 60995, 0),
    "UAVDT/train": (7, 5043, 64630, 175, 64630, 0),
    "flies": (1, 1500, 3000, 2, 3000, 0),
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_counts(mot_data, folder):
    report = check(mot_data / folder, benchmark="generic" if folder == "flies" else "auto")
    assert [str(one) for one in report.problems if one.severity == "error"] == []
    assert report.benchmark == ("generic" if folder == "flies" else folder.split("/")[0])
    rows = [(one.frames, one.boxes, one.identities, one.rows, sum(one.detections.values())) for one in report.sequences]
    assert (len(rows), *map(sum, zip(*rows, strict=True))) == FOLDERS[folder]


def test_kitti_counts(mot_data):
    report = check(mot_data / "KITTI")
    assert report.problems == ()
    assert [one.frames for one in report.sequences] == [154, 233, 144, 314, 297, 800, 803, 373, 145, 837]
    assert sum(one.rows for one in report.sequences) == 23211
    assert sum(one.rows + one.ignore_regions for one in report.sequences) == 31985
    assert sum(sum(one.detections.values()) for one in report.sequences) == 28657


@pytest.mark.parametrize("folder", [*FOLDERS, "KITTI/training"])
def test_strict_reading(mot_data, folder):
    for sequence in find_sequences(mot_data / folder, benchmark="generic" if folder == "flies" else "auto"):
        assert len(sequence.ground_truth())
        assert len(sequence.ignore_regions()) or folder not in ("KITTI/training",)
        for name in sequence.detection_names():
            assert len(sequence.detections(name))


def test_every_result_file(mot_data):
    files = sorted(mot_data.glob("trackers/**/*.txt"))
    assert len(files) > 100
    for file in files:
        assert len(read_mot(file, kind="results")), file


def test_uavdt_ignore_regions(mot_data):
    counts = {s.name: len(s.ignore_regions()) for s in find_sequences(mot_data / "UAVDT" / "train")}
    assert sum(counts.values()) == 2509
    assert {name for name, count in counts.items() if not count} == {"M0501", "M0901", "M1202"}


def test_images_of_pets(mot_data):
    (sequence,) = [s for s in find_sequences(mot_data / "MOT15" / "train") if s.name == "PETS09-S2L1"]
    assert sequence.image_path(795).name == "000795.jpg"
    assert sequence.image_path(796) is None
    report = check(sequence.path)
    assert (report.sequences[0].images, report.sequences[0].image_size) == (795, (360, 480))
