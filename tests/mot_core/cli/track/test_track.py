"""`mot track` with detections: result files and invalid input."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from PIL import Image

from mot_core.association import ByteTrack, Sort
from mot_core.cli.track import command as track
from mot_core.io import KITTI_CLASSES, find_sequences, read_kitti, read_mot
from mot_core.structures import Tracks


def files(folder):
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def track_by_hand(sequence, tracker, names="det"):
    detections = sequence.detections(names)
    rows = []
    for frame in sequence.frame_numbers():
        at = detections.frame(frame)
        tracks = tracker.update(detections.boxes_xyxy[at], detections.scores[at])
        rows += [(frame, i, *box) for i, box in zip(tracks.ids, tracks.boxes_xyxy, strict=True)]
    return np.array(rows)


def rows_in(path):
    table = read_mot(path, kind="results")
    return np.column_stack([table.frames, table.ids, table.boxes_xyxy])


@pytest.mark.parametrize("name", ["botsort", "bytetrack", "cbiou", "ocsort", "sort"])
def test_every_tracker_on_a_folder(mot, scenes, tmp_path, name):
    done = mot("track", scenes, "--benchmark", "generic", "--tracker", name, "--output", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    assert files(tmp_path / "out") == ["park.txt", "run.yaml", "street.txt"]
    for sequence in ("park", "street"):
        assert f"{sequence}" in done.out
        assert len(np.unique(read_mot(tmp_path / "out" / f"{sequence}.txt", kind="results").ids)) >= 4


def test_result_files_equal_the_tracker_output(mot, scenes, tmp_path):
    mot("track", scenes, "--benchmark", "generic", "--tracker", "sort", "--output", tmp_path)
    for sequence in find_sequences(scenes, benchmark="generic"):
        np.testing.assert_allclose(
            rows_in(tmp_path / f"{sequence.name}.txt"), track_by_hand(sequence, Sort()), atol=1e-4
        )


def test_single_sequence_and_new_output_folder(mot, scenes, tmp_path):
    out = tmp_path / "new" / "deep"
    assert mot("track", scenes / "park", "--benchmark", "generic", "--tracker", "sort", "--output", out).code == 0
    assert files(out) == ["park.txt", "run.yaml"]


def test_flags_override_yaml_and_the_record_has_all_parameters(mot, scenes, tmp_path):
    config = tmp_path / "fast.yaml"
    config.write_text("max_age: 3\nmin_hits: 1\n")
    done = mot(
        *("track", scenes, "--benchmark", "generic", "--tracker", "sort", "--output", tmp_path / "out"),
        *("--config", config, "--max-age", 7),
    )
    assert done.code == 0
    record = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())
    assert record["given"] == {"max_age": 7, "min_hits": 1}
    assert record["parameters"]["iou_threshold"] == 0.3
    assert record["parameters"]["cost"] == "mot_core.association.costs.iou_cost"
    assert record["sequences"]["park"]["frames"] == "1-40"
    assert record["sequences"]["park"]["detections"] == str(scenes / "park" / "det" / "det.txt")
    park = find_sequences(scenes / "park", benchmark="generic")[0]
    by_hand = track_by_hand(park, Sort(max_age=7, min_hits=1))
    np.testing.assert_allclose(rows_in(tmp_path / "out" / "park.txt"), by_hand, atol=1e-4)


def test_presets_by_benchmark_and_sequence(mot, scenes, tmp_path):
    (scenes / "park").rename(scenes / "MOT17-05-FRCNN")
    (scenes / "street").rename(scenes / "MOT17-02-FRCNN")
    done = mot(
        "track",
        scenes,
        "--tracker",
        "bytetrack",
        "--preset",
        "official",
        "--low-threshold",
        "0.2",
        "--output",
        tmp_path,
    )
    assert (done.code, done.err) == (0, "")
    record = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert record["parameters"]["max_age"] == 30
    assert record["parameters"]["low_threshold"] == 0.2
    assert record["sequences"]["MOT17-05-FRCNN"]["max_age"] == 14
    assert "max_age" not in record["sequences"]["MOT17-02-FRCNN"]


def test_first_available_detections_are_used(mot, scenes, tmp_path):
    (scenes / "park" / "det" / "det.txt").rename(scenes / "park" / "det" / "yolox.txt")
    arguments = ("track", scenes, "--benchmark", "generic", "--tracker", "sort", "--output", tmp_path / "out")
    assert mot(*arguments, "--detections", "yolox,det").code == 0
    done = mot(*arguments)  # by default, the only file of park
    assert (done.code, done.err) == (
        0,
        f"mot: note: the only detections are used, {scenes / 'park' / 'det' / 'yolox.txt'}\n",
    )
    done = mot(*arguments, "--detections", "det")
    assert done.code == 1
    assert "sequence park has no detections 'det'" in done.err
    assert "choose from yolox" in done.err
    (scenes / "park" / "det" / "frcnn.txt").write_text("")
    assert "choose from frcnn, yolox" in mot(*arguments).err


def test_sequences_without_detections_list_the_ways_to_get_some(mot, scenes, tmp_path):
    (scenes / "park" / "det" / "det.txt").unlink()
    done = mot("track", scenes, "--benchmark", "generic", "--tracker", "sort", "--output", tmp_path / "out")
    assert done.code == 1
    for way in (f"write {scenes / 'park' / 'det' / 'det.txt'} with lines", "--detector", "--checkpoint"):
        assert way in done.err


def test_own_data_are_tracked_as_generic_with_a_note(mot, scenes, tmp_path):
    arguments = ("--tracker", "sort", "--output")
    done = mot("track", scenes.rename(tmp_path / "mine"), *arguments, tmp_path / "out")
    assert done.code == 0
    assert done.err.startswith("mot: note: no benchmark fits the names of the folders")
    assert done.err.count("\n") == 1
    assert mot("track", tmp_path / "mine", "--benchmark", "generic", *arguments, tmp_path / "named").err == ""
    assert (tmp_path / "out" / "park.txt").read_text() == (tmp_path / "named" / "park.txt").read_text()


@pytest.mark.parametrize(
    ("window", "first", "last"), [(("--frames", "11-25"), 11, 25), (("--split", "half-val"), 22, 40)]
)
def test_windows_keep_frame_numbers(mot, scenes, tmp_path, window, first, last):
    arguments = ("track", scenes, "--benchmark", "generic", "--tracker", "sort", "--min-hits", "1", *window)
    assert mot(*arguments, "--output", tmp_path / "out").code == 0
    frames = read_mot(tmp_path / "out" / "street.txt", kind="results").frames
    assert (frames[0], frames[-1]) == (first, last)
    assert (
        yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())["sequences"]["park"]["frames"] == f"{first}-{last}"
    )


def test_classes_are_tracked_separately(mot, scenes, tmp_path):
    path = scenes / "park" / "det" / "det.txt"
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{line.rsplit(',', 3)[0]},{3 + 2 * (n % 2)},-1,-1\n" for n, line in enumerate(lines)))
    assert mot("track", scenes / "park", "--benchmark", "generic", "--tracker", "sort", "--output", tmp_path).code == 0
    results = read_mot(tmp_path / "park.txt", kind="results")
    assert set(results.classes.tolist()) <= {3, 5}
    for identity in np.unique(results.ids):
        assert len(set(results.classes[results.ids == identity])) == 1


def test_kitti_frame_numbers_and_classes(mot, tmp_path):
    root = tmp_path / "training"
    row = "{frame} -1 {kind} -1 -1 -10 {x} 100 {right} 180 -1 -1 -1 -1000 -1000 -1000 -10 0.9\n"
    for folder in ("label_02", "det"):
        (root / folder).mkdir(parents=True)
    lines = [
        row.format(frame=frame, kind=kind, x=x + 3 * frame, right=x + 60 + 3 * frame)
        for frame in range(20)
        for kind, x in (("Car", 50), ("Pedestrian", 52))
    ]
    (root / "det" / "0003.txt").write_text("".join(lines))
    (root / "label_02" / "0003.txt").write_text(
        "".join(lines).replace(" -1 Car", " 1 Car").replace(" -1 Ped", " 2 Ped")
    )
    done = mot("track", root, "--tracker", "bytetrack", "--output", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    results = read_kitti(tmp_path / "out" / "0003.txt", kind="results")
    assert results.frames.min() == 0
    assert len(results) == 40
    for identity in np.unique(results.ids):
        assert len(set(results.classes[results.ids == identity])) == 1
    assert {KITTI_CLASSES[label] for label in results.classes} == {"Car", "Pedestrian"}
    for folder in ("label_02", "det"):  # folders in which results have the names of inputs
        before = (root / folder / "0003.txt").read_text()
        done = mot("track", root, "--tracker", "bytetrack", "--output", root / folder)
        assert done.code == 1
        assert "an input of this sequence; choose another" in done.err
        assert (root / folder / "0003.txt").read_text() == before


def test_sequence_without_detections(mot, scenes, tmp_path):
    (scenes / "park" / "det" / "det.txt").write_text("")
    arguments = ("--benchmark", "generic", "--tracker", "bytetrack", "--plot", "--video", "--output", tmp_path / "out")
    assert mot("track", scenes / "park", *arguments).code == 0
    assert files(tmp_path / "out") == ["park.mp4", "park.png", "park.txt", "run.yaml"]
    assert (tmp_path / "out" / "park.txt").read_text() == ""


def test_scores_outside_0_1_require_thresholds(mot, scenes, tmp_path):
    path = scenes / "street" / "det" / "det.txt"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("".join(",".join([*row[:6], str(100 * float(row[6])), *row[7:]]) + "\n" for row in rows))
    out = tmp_path / "out"
    arguments = ("track", scenes, "--benchmark", "generic", "--tracker", "bytetrack", "--output", out)
    done = mot(*arguments)
    assert done.code == 1
    assert f"{path}: expected scores in [0, 1]" in done.err
    assert "--track-threshold and --low-threshold and --birth-threshold" in done.err
    assert files(out) == []  # not even park, which has valid scores
    done = mot(*arguments, "--track-threshold", 60, "--low-threshold", 10)
    assert "scores with --birth-threshold" in done.err
    config = tmp_path / "birth.yaml"
    config.write_text("birth_threshold: 70\nfuse_score: no\n")
    assert mot(*arguments, "--track-threshold", 60, "--low-threshold", 10, "--config", config).code == 0
    assert len(read_mot(out / "street.txt", kind="results"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("12,-1,5,5", "det.txt:7"),
        ("12,-1,5,5,nan,9,0.5,-1,-1,-1", "det.txt:7"),
        ("12,-1,5,5,-4,9,0.5,-1,-1,-1", "det.txt:7"),
    ],
    ids=["truncated", "nan", "negative width"],
)
def test_invalid_detections_are_reported_before_writing(mot, scenes, tmp_path, line, words):
    path = scenes / "street" / "det" / "det.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:6], line, *lines[6:]]) + "\n")
    done = mot("track", scenes, "--benchmark", "generic", "--tracker", "sort", "--output", tmp_path / "out")
    assert done.code == 1
    assert words in done.err
    assert "Traceback" not in done.err
    assert done.err.count("\n") == 1
    assert files(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--frames", "30-60"], 1, "frames 30-60 are not a part of park, which has 1-40"),
        (["--frames", "60-30"], 2, "--frames: expected A-B, two frame numbers with A <= B, got '60-30'"),
        (["--frames", "ten"], 2, "--frames: expected A-B"),
        (["--frames", "1-9", "--split", "half-val"], 2, "not allowed with argument"),
        (["--preset", "offical"], 1, "--preset: Sort has no preset 'offical'; did you mean official?"),
        (["--config", "no.yaml"], 1, "no.yaml: no such file"),
        (["--max-age", "soon"], 2, "--max-age: expected a number, got 'soon'"),
        (["--inertia", "0.5"], 2, "unrecognized arguments: --inertia"),
        (["--max", "5"], 2, "unrecognized arguments: --max"),
        (["--frame-rate", "0"], 1, "frame_rate must be a positive number"),
        (["--benchmark", "KITTI"], 1, "is not in the layout of KITTI"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(mot, scenes, tmp_path, arguments, code, words):
    given = [] if "--benchmark" in arguments else ["--benchmark", "generic"]
    # "auto" would infer the benchmark from the folder name "generic".
    scenes = scenes.rename(tmp_path / "mine")
    done = mot("track", scenes, *given, "--tracker", "sort", "--output", tmp_path / "out", *arguments)
    assert done.code == code
    assert words in done.err
    assert done.err.count("\n") == 1
    assert files(tmp_path / "out") == []


def test_missing_sequence(mot, tmp_path):
    done = mot("track", tmp_path / "none", "--tracker", "sort", "--output", tmp_path / "out")
    assert done.code == 1
    assert f"there is no folder {tmp_path / 'none'}" in done.err


def test_plot_with_and_without_images(mot, scenes, tmp_path):
    (scenes / "park" / "img1").mkdir()
    for frame in range(1, 41):
        Image.new("RGB", (320, 240), "navy").save(scenes / "park" / "img1" / f"{frame:06d}.jpg")
    arguments = ("--benchmark", "generic", "--tracker", "sort", "--plot", "--output", tmp_path / "out")
    assert mot("track", scenes, *arguments).code == 0
    with Image.open(tmp_path / "out" / "park.png") as sheet, Image.open(tmp_path / "out" / "street.png") as paths:
        blue, white = sheet.convert("RGB").getpixel((400, 595)), paths.convert("RGB").getpixel((2, 2))
    assert blue[2] > 100 > blue[0]
    assert white == (255, 255, 255)


def test_tracker_errors_name_sequence_and_frame(mot, scenes, tmp_path, monkeypatch):
    class Broken:
        def update(self, boxes_xyxy, scores, classes=None, timestamp=None):
            raise ValueError("invalid boxes")

    monkeypatch.setattr(track, "load_tracker", lambda name: Broken)
    done = mot("track", scenes, "--benchmark", "generic", "--tracker", "broken", "--output", tmp_path / "out")
    assert done.code == 1
    assert "park, frame 1: invalid boxes" in done.err
    assert files(tmp_path / "out") == []


def test_minimal_tracker(mot, scenes, tmp_path, monkeypatch):
    class Repeat:
        """Number the detections of every frame.

        Args:
            shift: Shift to the right in pixels.
        """

        def __init__(self, *, shift: float = 0.0) -> None:
            self.shift = shift

        def update(self, boxes_xyxy, scores, classes=None, timestamp=None):
            shift = np.array([self.shift, 0, self.shift, 0])
            return Tracks(np.arange(len(scores)), boxes_xyxy + shift, scores)

    monkeypatch.setattr(track, "load_tracker", lambda name: Repeat)
    done = mot("track", scenes, "--benchmark", "generic", "--tracker", "repeat", "--shift", "2", "--output", tmp_path)
    assert (done.code, done.err) == (0, "")
    assert yaml.safe_load((tmp_path / "run.yaml").read_text())["parameters"] == {"shift": 2.0}
    detections = find_sequences(scenes, benchmark="generic")[0].detections()
    np.testing.assert_allclose(rows_in(tmp_path / "park.txt")[:, 2], detections.boxes_xyxy[:, 0] + 2, atol=1e-4)


def test_tensor_tracks_are_written(mot, scenes, tmp_path, monkeypatch):
    class OnTensors(ByteTrack):
        def update(self, *arguments, **options):
            return super().update(*arguments, **options).torch()

    monkeypatch.setattr(track, "load_tracker", lambda name: OnTensors)
    done = mot("track", scenes, "--benchmark", "generic", "--tracker", "x", "--output", tmp_path)
    assert (done.code, done.err) == (0, "")
    park = find_sequences(scenes / "park", benchmark="generic")[0]
    np.testing.assert_allclose(rows_in(tmp_path / "park.txt"), track_by_hand(park, ByteTrack()), atol=1e-4)
