"""The official presets against the result files of the official implementations, box by box.

ifzhang/ByteTrack, abewley/sort and noahcao/OC_SORT ran on the same YOLOX detections; golden/README.md has the commits.
"""

import json

import numpy as np
import pytest

from mot_core.association import ByteTrack, OCSort, Sort

# Result files: (tracker, preset, half a unit of the last digit written)
VARIANTS = {
    "bytetrack": (ByteTrack, "official", 0.05),
    "sort": (Sort, "official", 0.005),
    "sort_maxage30": (Sort, "official:maxage30", 0.005),
    "ocsort": (OCSort, "official", 0.005),
    "ocsort_byte": (OCSort, "official:byte", 0.005),
}
SPLITS = {"MOT17": "train", "DanceTrack": "val"}


def read(path):
    """Rows of a MOT file sorted by frame, and where each frame starts: frame f is ``rows[start[f] : start[f + 1]]``."""
    rows = np.loadtxt(path, delimiter=",", ndmin=2)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    return rows, np.searchsorted(rows[:, 0], np.arange(rows[-1, 0] + 2))


def track(tracker, folder):
    """Return frame -> (ids, left-top-width-height, scores) of a sequence folder."""
    rows, start = read(folder / "det" / "yolox.txt")
    info = dict(line.split("=") for line in (folder / "seqinfo.ini").read_text().split() if "=" in line)
    start = np.pad(start, (0, max(0, int(info["seqLength"]) + 2 - len(start))), mode="edge")
    results = {}
    for frame in range(1, int(info["seqLength"]) + 1):
        found = rows[start[frame] : start[frame + 1]]
        tracks = tracker.update(np.concatenate([found[:, 2:4], found[:, 2:4] + found[:, 4:6]], 1), found[:, 6])
        boxes = tracks.boxes_xyxy
        results[frame] = tracks.ids, np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1), tracks.scores
    return results


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", SPLITS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_official_presets_reproduce_official_results(variant, benchmark, mot_data, mot_golden):
    """Every box of every frame and all identities are equal; for SORT with max_age = 1, identities up to their names.

    There several tracks often start in one frame, and official SORT numbers them by solver ties among pairs without
    overlap, which differ from ours.
    """
    tracker_type, preset, rounding = VARIANTS[variant]
    golden = json.loads((mot_golden / "bytetrack_association.json").read_text())["results"][f"{variant}/{benchmark}"]
    folders = sorted((mot_data / benchmark / SPLITS[benchmark]).iterdir())
    assert folders
    for folder in folders:
        name = folder.name
        official, start = read(mot_data / "trackers" / "official" / variant / benchmark / f"{name}.txt")
        results = track(tracker_type.preset(preset, benchmark, name), folder)
        assert sum(len(ids) for ids, _, _ in results.values()) == len(official) == golden[name]["rows"], name
        our_id, their_id = {}, {}
        for frame, (ids, boxes, scores) in results.items():
            theirs = official[start[frame] : start[frame + 1]] if frame + 1 < len(start) else official[:0]
            assert len(theirs) == len(ids), (name, frame)
            if not len(ids):
                continue
            difference = np.abs(boxes[:, None] - theirs[None, :, 2:6]).max(2)
            pair = difference.argmin(1)
            assert len(set(pair.tolist())) == len(pair), (name, frame)
            assert difference[np.arange(len(pair)), pair].max() <= rounding + 1e-6, (name, frame)
            if variant == "bytetrack":  # the others write 1
                assert np.abs(scores - theirs[pair, 6]).max() <= 0.005 + 1e-6, (name, frame)
            for ours, other in zip(ids.tolist(), theirs[pair, 1].tolist(), strict=True):
                assert our_id.setdefault(other, ours) == ours, (name, frame)
                assert their_id.setdefault(ours, other) == other, (name, frame)
                assert variant == "sort" or ours == other, (name, frame)
        assert len(our_id) == golden[name]["tracks"], name
