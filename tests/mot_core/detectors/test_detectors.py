"""Detectors by name and as callables, the check of what they return, and detections of other libraries."""

from importlib.metadata import EntryPoint
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mot_core.association import ByteTrack
from mot_core.detectors import class_numbers, detect, load_detector, registry
from mot_core.structures import Detections, Tracks, detections_from

ROWS = np.array([[1.0, 2, 11, 22, 0.9, 3], [5, 5, 9, 9, 0.4, 0]])
IMAGE = np.zeros((30, 40, 3), np.uint8)


def test_callables_of_modules_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "my_boxes.py").write_text(
        "import numpy as np\n"
        "def find(images):\n    return [np.array([[0, 0, image.shape[1], 9, 0.5]]) for image in images]\n"
        "class Finder:\n    def __call__(self, images):\n        return find(images)\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    for name in ("find", "Finder"):
        assert detect(load_detector(f"my_boxes:{name}"), IMAGE).boxes_xyxy.tolist() == [[0, 0, 40, 9]]
    with pytest.raises(ValueError, match=r"expected a callable fnd in my_boxes, found none; did you mean find\?"):
        load_detector("my_boxes:fnd")
    with pytest.raises(ValueError, match="expected a callable number"):
        load_detector("my_boxes:number")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("onx:model.onnx", r"got 'onx:model.onnx'; did you mean onnx\?"),
        ("no_such_module:find", "installed kinds: .*onnx.*transformers"),
        ("onnx:", "expected onnx:ARGUMENT, got .*; add its file"),
        ("model.onnx", "expected KIND:ARGUMENT"),
        ("..:find", "expected KIND:ARGUMENT"),
    ],
)
def test_unknown_detectors_are_rejected(name, words):
    with pytest.raises(ValueError, match=words):
        load_detector(name)


def test_broken_packages_are_named(monkeypatch):
    points = [EntryPoint("away", "mot_core.detectors:Gone", "mot_core.detectors")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    with pytest.raises(ValueError, match=r"away \(mot_core\.detectors:Gone\) cannot be loaded: AttributeError"):
        load_detector("away:x")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no ONNX file .*away\.onnx"):
        load_detector(f"onnx:{tmp_path / 'away.onnx'}")
    with pytest.raises(FileNotFoundError, match="expected a folder of save_pretrained, found none"):
        load_detector(f"transformers:{tmp_path / 'away'}")


def test_results_are_checked_and_filtered():
    def model(images):
        return [np.concatenate([ROWS, [[4, 4, 4, 8, 0.8, 0]]])]

    assert detect(model, IMAGE).scores.tolist() == [0.9, 0.4]  # the last has no area
    assert detect(model, IMAGE, classes={3}).boxes_xyxy.tolist() == [[1, 2, 11, 22]]
    assert len(detect(lambda images: [[]], IMAGE)) == 0
    with pytest.raises(ValueError, match="expected one result per image, got 0"):
        detect(lambda images: [], IMAGE)
    with pytest.raises(ValueError, match="expected finite boxes"):
        detect(lambda images: [np.array([[1, 2, np.nan, 4, 0.5]])], IMAGE)
    with pytest.raises(ValueError, match="classes: expected a detector that returns classes"):
        detect(lambda images: [ROWS[:, :5]], IMAGE, classes={3})


def test_classes_by_name_and_number():
    model = SimpleNamespace(class_names={0: "person", 2: "car"})
    assert class_numbers(model, ["Person", " 7"]) == {0, 7}
    assert class_numbers(model, None) is None
    with pytest.raises(ValueError, match=r"got 'persn'; did you mean person\?"):
        class_numbers(model, ["persn"])
    with pytest.raises(ValueError, match="it has no class_names, so give numbers"):
        class_numbers(lambda images: [], ["person"])


def of_ultralytics(rows):
    tensor = torch.from_numpy(rows)
    return SimpleNamespace(boxes=SimpleNamespace(xyxy=tensor[:, :4], conf=tensor[:, 4], cls=tensor[:, 5]))


FORMS = {
    "array": lambda rows: rows,
    "tensor": torch.from_numpy,
    "list": lambda rows: rows.tolist(),
    "detections": lambda rows: Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(int)),
    "supervision": lambda rows: SimpleNamespace(
        xyxy=rows[:, :4], confidence=rows[:, 4], class_id=rows[:, 5].astype(int), tracker_id=None
    ),
    "ultralytics results": of_ultralytics,
    "ultralytics boxes": lambda rows: of_ultralytics(rows).boxes,
    "torchvision": lambda rows: {
        "boxes": torch.from_numpy(rows[:, :4]),
        "labels": torch.from_numpy(rows[:, 5]).long(),
        "scores": torch.from_numpy(rows[:, 4]),
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_trackers_accept_detections_of_other_libraries(form):
    expected = ByteTrack(track_threshold=0.3, birth_threshold=0.3)
    tracker = ByteTrack(track_threshold=0.3, birth_threshold=0.3)
    for shift in range(3):
        rows = ROWS + np.array([shift, 0, shift, 0, 0, 0])
        by_hand = expected.update(rows[:, :4], rows[:, 4], rows[:, 5].astype(int))
        tracks = tracker.update(FORMS[form](rows)).numpy()
        assert tracks.ids.tolist() == by_hand.ids.tolist() == [1, 2]
        assert tracks.classes.tolist() == [3, 0]
        np.testing.assert_allclose(tracks.boxes_xyxy, by_hand.boxes_xyxy)
    assert len(tracker.update(FORMS[form](ROWS[:0]))) == 0


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (np.zeros((2, 4)), r"got an array of shape \(2, 4\)"),
        ({"boxes": [], "labels": []}, "expected a dict with boxes and scores, got the keys boxes, labels"),
        (SimpleNamespace(xyxy=np.zeros((1, 4)), confidence=None, class_id=None), "with confidence, got None"),
        ("boxes", "got str"),
        (None, "got NoneType"),
    ],
)
def test_other_objects_are_rejected(found, words):
    with pytest.raises(TypeError, match=words):
        detections_from(found)


def test_tracks_to_supervision():
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    tracks = Tracks(np.array([7]), ROWS[:1, :4], ROWS[:1, 4], np.array([3]))
    given = tracks.to_supervision()
    assert isinstance(given, supervision.Detections)
    assert (given.tracker_id.tolist(), given.class_id.tolist()) == ([7], [3])
    assert len(detections_from(given)) == 1
