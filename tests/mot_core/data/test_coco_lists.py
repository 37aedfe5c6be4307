import json

import numpy as np
import pytest

from mot_core.data import ClipDataset, ClipSampling, collate, read_coco


@pytest.fixture
def coco(tmp_path, save_image):
    """Write and read a COCO-style file; by default two still images, as converted from CrowdHuman."""

    def make(change=None):
        content = {
            "images": [
                {"id": 11, "file_name": "a.jpg", "height": 30, "width": 40},
                {"id": 7, "file_name": "b.jpg", "height": 60, "width": 50},
            ],
            "annotations": [
                {"id": 1, "image_id": 7, "bbox": [5, 6, 20, 30], "category_id": 3},
                {"id": 2, "image_id": 7, "bbox": [-4, 6, 20, 30], "category_id": 1},
                {"id": 3, "image_id": 7, "bbox": [30, 30, 9, 9], "category_id": 1, "iscrowd": 1},
            ],
            "categories": [{"id": 3, "name": "head"}, {"id": 1, "name": "person"}],
        }
        if change:
            change(content)
        save_image("images/a.jpg", (30, 40))
        save_image("images/b.jpg", (60, 50))
        path = tmp_path / "list.json"
        path.write_text(json.dumps(content))
        return read_coco(path, tmp_path / "images")

    return make


def as_video(content):
    content["videos"] = [{"id": 1, "name": "street"}]
    for number, image in enumerate(content["images"]):
        image |= {"video_id": 1, "frame_id": 5 - number, "height": 0}
    for number, annotation in enumerate(content["annotations"]):
        annotation["track_id"] = 40 + number


def test_still_images(coco):
    source = coco()
    assert source.lengths.tolist() == [0, 0]
    assert source.names.tolist() == ["11", "7"]
    (empty,), (frame,) = source.read(0, [0]), source.read(1, [0])
    assert len(empty.ids) == 0
    assert frame.boxes_xyxy.tolist() == [[5, 6, 25, 36], [-4, 6, 16, 36], [30, 30, 39, 39]]
    assert frame.labels.tolist() == [1, 0, 0]
    assert frame.ignore.tolist() == [False, False, True]
    assert len(set(frame.ids[:2])) == 2
    assert frame.ids[2] == -1


def test_clips_of_still_images(coco):
    dataset = ClipDataset(coco(), ClipSampling({0: 4, 9: 5}, max_interval=3))
    assert len(dataset) == 2
    clip = dataset[(0, 1)]
    assert [frame.number for frame in clip] == [1, 2, 3, 4]
    assert len({frame.image_size for frame in clip}) == 1
    assert all(len(np.unique(frame.ids)) == len(frame.ids) for frame in clip)
    lefts = [frame.boxes_xyxy[frame.ids == clip[0].ids[0]][0, 2] for frame in clip]
    assert len(set(lefts)) == 4
    batch = collate([dataset[(0, 0)], clip])
    assert batch.num_frames == 4
    assert not batch.targets[0].valid[0].any()


def test_videos(coco):
    source = coco(as_video)
    assert source.lengths.tolist() == [2]
    assert source.names.tolist() == ["street"]
    later, earlier = source.read(0, [1, 0])
    assert (earlier.number, later.number) == (4, 5)
    assert earlier.ids.tolist() == [40, 41, -1]
    assert later.image_size == (30, 40)


def drop(part, key):
    return lambda content: [record.pop(key) for record in content[part]]


def video_without_ids(content):
    as_video(content)
    drop("annotations", "track_id")(content)


def identity_twice(content):
    as_video(content)
    content["annotations"][1]["track_id"] = 40


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c: c.pop("annotations"), ValueError, r"got no list 'annotations'"),
        (lambda c: c["images"].clear(), ValueError, r"expected at least one record in 'images', got none"),
        (
            drop("images", "file_name"),
            ValueError,
            r"expected the key 'file_name' in every record of 'images'.*; add it",
        ),
        (drop("annotations", "bbox"), ValueError, r"expected the key 'bbox' in every record of 'annotations'"),
        (lambda c: c["images"][0].update(id=7), ValueError, r"expected a unique 'id' per image"),
        (
            lambda c: c["images"][0].update(file_name="c.jpg"),
            FileNotFoundError,
            r"list\.json: image .*c\.jpg is missing",
        ),
        (
            lambda c: c["annotations"][0].update(image_id=8),
            ValueError,
            r"expected 'image_id' of a record in 'images', got 8",
        ),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, -3, 4]), ValueError, r"got \[1, 2, -3, 4\]"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3, 10**400]), ValueError, r"at most 18 digits, got 401"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, True, 4]), ValueError, r"got True in"),
        (lambda c: c["annotations"][0].update(bbox="1234"), ValueError, r"expected 'bbox' as \[left, top"),
        (
            lambda c: c["annotations"][0].update(category_id=1.5),
            ValueError,
            r"'category_id' .* as a whole number, got 1\.5",
        ),
        (
            lambda c: c["annotations"][0].update(category_id="x"),
            ValueError,
            r"'category_id' .* as a whole number, got 'x'",
        ),
        (
            lambda c: c["images"].__setitem__(0, 7),
            ValueError,
            r"expected the key 'id' in every record .* got 7",
        ),
        (lambda c: c["images"][0].update(id=[1]), ValueError, r"'id' in 'images' as an integer or a string, got \[1\]"),
        (lambda c: c["images"][0].update(height="30"), ValueError, r"'height' in 'images' as a whole number, got '30'"),
        (video_without_ids, ValueError, r"expected 'track_id' in annotations of videos"),
        (identity_twice, ValueError, r"expected one box per identity and frame, got two in street"),
    ],
)
def test_invalid_records_are_rejected(coco, change, error, message):
    with pytest.raises(error, match=message):
        coco(change)


def test_invalid_files_are_rejected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"list\.json: no such file"):
        read_coco(tmp_path / "list.json", tmp_path)
    (tmp_path / "list.json").write_text("{")
    with pytest.raises(ValueError, match=r"list\.json:1: expected JSON"):
        read_coco(tmp_path / "list.json", tmp_path)
