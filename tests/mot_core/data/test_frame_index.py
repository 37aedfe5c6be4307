import re
import shutil

import numpy as np
import pytest

from mot_core.data import ClipDataset, ClipSampling, FrameIndex, index_sequences
from mot_core.data.decode import DecodeCache
from mot_core.data.folders import label_rows
from mot_core.io import BENCHMARKS, KITTI_CLASSES, BoxTable, find_sequences


def write(folder, text):
    (folder / "gt" / "gt.txt").write_text(text)


def index(folder, benchmark="generic", **arguments):
    return index_sequences(find_sequences(folder, benchmark=benchmark), **arguments)


def test_written_videos_are_read_back(video_root):
    from mot_core.data import SyntheticVideo

    source = SyntheticVideo(2, 8, (48, 64), (3, 3), seed=4, with_depth=True)
    read = index(video_root, with_depth=True)
    assert read.lengths.tolist() == [8, 8]
    assert read.names.tolist() == source.names.tolist()
    for video in range(2):
        for made, found in zip(source.read(video, range(8)), read.read(video, range(8)), strict=True):
            made = made.select(~made.ignore)
            assert np.array_equal(found.image, made.image)
            assert np.array_equal(found.ids, made.ids)
            assert found.number == made.number
            np.testing.assert_allclose(found.boxes_xyxy, made.boxes_xyxy, atol=1e-3)
            np.testing.assert_allclose(found.visibility, made.visibility, atol=1e-3)
            np.testing.assert_allclose(found.depth, made.depth, atol=0.51)


def test_objects_follow_the_rules_of_the_benchmark(video_folder):
    rows = {
        1: "10,10,1,1,1",  # pedestrian
        2: "20,10,0,1,1",  # not scored
        3: "10,20,0,7,1",  # static person
        4: "10,20,0,3,1",  # car: background
        5: "10,20,1,1,0.2",  # hardly visible
    }
    write(video_folder, "".join(f"2,{identity},5,5,{row}\n" for identity, row in rows.items()))
    (first, second) = index(video_folder, "MOT17", min_visibility=0.3).read(0, [0, 1])
    assert len(first.ids) == 0
    assert second.ids.tolist() == [1, -1, -1, -1]
    assert second.ignore.tolist() == [False, True, True, True]
    assert second.boxes_xyxy[0].tolist() == [5, 5, 15, 15]
    (_, counted) = index(video_folder, "generic").read(0, [0, 1])
    assert counted.ids[~counted.ignore].tolist() == [1, 5]


def test_kitti_classes():
    names = ["Car", "Van", "Pedestrian", "Person", "Cyclist", "Car", "Car"]
    table = BoxTable(
        [0] * 7,
        range(7),
        np.zeros((7, 4)),
        classes=[KITTI_CLASSES.index(name) for name in names],
        truncation=[0] * 6 + [1],
        occlusion=[0] * 5 + [3, 0],
    )
    labels, ignore = label_rows(table, BENCHMARKS["KITTI"])
    assert labels.tolist() == [0, -1, 1, -1, -1, -1, -1]
    assert ignore.tolist() == [False, True, False, True, False, True, True]


def test_ignore_regions_are_kept(video_folder):
    (video_folder / "gt" / "ignore.txt").write_text("1,-1,0,0,20,20,0,-1,-1\n6,-1,30,30,10,10,0,-1,-1\n")
    frames = index(video_folder).read(0, range(6))
    assert [frame.boxes_xyxy[frame.ignore].tolist() for frame in frames] == [
        [[0, 0, 20, 20]], [], [], [], [], [[30, 30, 40, 40]],
    ]  # fmt: skip


def test_non_consecutive_ids(video_folder):
    write(
        video_folder, "".join(f"{f},{i},{9 * k},5,8,8,1\n" for f in range(1, 7) for k, i in enumerate((0, 70, 9**15)))
    )
    dataset = ClipDataset(index(video_folder), ClipSampling(6))
    assert [frame.ids.tolist() for frame in dataset[0]] == [[0, 70, 9**15]] * 6


def test_duplicate_identity_in_a_frame_is_rejected(video_folder):
    write(video_folder, "1,7,5,5,8,8,1\n2,7,5,5,8,8,1\n1,7,25,5,8,8,1\n")
    with pytest.raises(ValueError, match=r"gt\.txt:3: id 7 is already in frame 1, at line 1"):
        index(video_folder)


def test_missing_images_are_reported_when_indexing(video_folder):
    (video_folder / "img1" / "000003.png").unlink()
    (video_folder / "img1" / "000004.png").unlink()
    message = r"image .*000003\.png is missing \(2 of 6 of synthetic-train-4-0\); add the images, or correct seqLength"
    with pytest.raises(FileNotFoundError, match=message):
        index(video_folder)


def test_image_removed_after_indexing(video_folder):
    source = index(video_folder)
    (video_folder / "img1" / "000003.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"image .*000003\.png is missing"):
        source.read(0, [2])


def test_image_of_another_size_is_rejected(video_folder, save_image):
    save_image("root/synthetic-train-4-0/img1/000002.png", (24, 32))
    message = r"000002\.png: expected 64x48, the size declared with the boxes of synthetic-train-4-0, got 32x24"
    with pytest.raises(ValueError, match=message):
        index(video_folder).read(0, [1])


@pytest.mark.parametrize(
    ("remove", "error", "message"),
    [
        ("img1/*", FileNotFoundError, r"expected images in .*img1, found none; add them, or remove the sequence"),
        ("gt/gt.txt", FileNotFoundError, r"expected ground truth in .*gt\.txt, found none; add it"),
    ],
)
def test_missing_images_and_ground_truth(video_folder, remove, error, message):
    for path in video_folder.glob(remove):
        path.unlink()
    with pytest.raises(error, match=message):
        index(video_folder)


def test_ground_truth_is_read_only_if_needed(video_folder):
    write(video_folder, "nonsense")
    assert len(index(video_folder, needs_ground_truth=False).read(0, [0])[0].ids) == 0


def test_ground_truth_without_scored_objects_is_rejected(video_folder):
    write(video_folder, "1,7,5,5,8,8,0,1,1\n")
    with pytest.raises(
        ValueError, match=r"expected ground truth that is scored under the rules of MOT17, got none; choose another"
    ):
        index(video_folder, "MOT17")


def test_empty_list_of_sequences_is_rejected():
    with pytest.raises(ValueError, match="at least one sequence, got none"):
        index_sequences([])


@pytest.mark.parametrize("damage", ["missing", "size"])
def test_missing_or_mismatched_depth_maps(video_folder, save_image, damage):
    for number in range(1, 7):
        save_image(f"root/{video_folder.name}/depth/{number:06d}.png", (48, 64), 7, "L")
    assert index(video_folder, with_depth=True).read(0, [4])[0].depth.min() == 7
    path = video_folder / "depth" / "000005.png"
    if damage == "missing":
        path.unlink()
        with pytest.warns(UserWarning, match=r"1 of 6 images have no depth map, the first is .*000005\.\w+; losses"):
            source = index(video_folder, with_depth=True)
        known, unknown = source.read(0, [3, 4])
        assert (known.depth == 7).all()
        assert unknown.depth.shape == (48, 64)
        assert np.isnan(unknown.depth).all()
        shutil.rmtree(path.parent)
        with pytest.raises(FileNotFoundError, match=rf"{re.escape(str(path.parent))}: expected depth maps, found none"):
            index(video_folder, with_depth=True)
    else:
        save_image(f"root/{video_folder.name}/depth/000005.png", (24, 32), 7, "L")
        with pytest.raises(ValueError, match=r"depth map .*: expected 64x48, the size of its image, got 32x24"):
            index(video_folder, with_depth=True).read(0, [4])


def test_concatenated_datasets(video_root):
    parts = [index(folder) for folder in sorted(video_root.iterdir())]
    joined = FrameIndex.concatenate(parts, DecodeCache(10**6))
    for video, part in enumerate(parts):
        for one, other in zip(joined.read(video, range(8)), part.read(0, range(8)), strict=True):
            assert np.array_equal(one.image, other.image)
            assert np.array_equal(one.boxes_xyxy, other.boxes_xyxy)
            assert (one.sequence, one.number) == (other.sequence, other.number)
    assert len(joined.cache.kept) == 16


def test_index_contains_no_python_objects(video_root):
    source = index(video_root)
    kinds = {
        getattr(source, name).dtype.kind for name in source.__dataclass_fields__ if name not in ("with_depth", "cache")
    }
    assert "O" not in kinds
