"""The learned cost: its network, file, training and command, and its use in trackers."""

import numpy as np
import pytest
import torch

from _helpers.em_kalman_scenes import make_scene as make_walkers
from _helpers.em_kalman_scenes import track
from lamotr import BoxAssociation, CostTraining, LAMOTRCost, learn_cost, load_cost, record_associations, save_cost
from lamotr.cost.features import association_features
from lamotr.cost.training import association_quality
from mot_core.association import ByteTrack, DetectionBatch, OCSort, Sort, TrackBatch, read_cost
from mot_core.cli import main
from mot_core.io import find_sequences, make_scene, read_mot, write_mot
from mot_core.io.seqinfo import SeqInfo, write_seqinfo


def batches(seed=0, tracks=3, detections=4):
    """Random tracks and detections of one frame."""
    rng = np.random.default_rng(seed)
    corners = [rng.uniform(0, 500, (count, 2)) for count in (tracks, detections)]
    boxes = [np.concatenate([corner, corner + rng.uniform(20, 90, corner.shape)], 1) for corner in corners]
    ints, ones = [np.arange(count) for count in (tracks, detections)], [np.ones(tracks), np.ones(detections)]
    return (
        TrackBatch(ints[0], boxes[0], ones[0], ints[0], ones[0], ints[0], rng.normal(0, 5, (tracks, 2))),
        DetectionBatch(boxes[1], ones[1], ints[1], ints[1]),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scenes of fast objects, whose boxes do not overlap from frame to frame."""
    root = tmp_path_factory.mktemp("scenes")
    for seed in range(4):
        truth, found = make_walkers(seed, 15)
        path = root / f"walk{seed}"
        write_mot(path / "gt" / "gt.txt", truth, kind="ground_truth", decimals=2)
        write_mot(path / "det" / "det.txt", found.table, kind="detections", decimals=2)
        info = SeqInfo(name=path.name, frame_rate=30, length=len(found.frames), image_size=found.image_size)
        write_seqinfo(path / "seqinfo.ini", info)
    return root


@pytest.fixture(scope="module")
def records(folder):
    sequences = find_sequences(folder, benchmark="generic")
    return [record for one in sequences for record in record_associations(one, one.detections())]


@pytest.fixture(scope="module")
def model(records):
    return learn_cost(records, CostTraining(steps=150, batch_size=8))


def test_batches_equal_single_frames():
    frames = [association_features(*batches(seed, *sizes)) for seed, sizes in enumerate([(3, 4), (0, 2), (5, 1)])]
    model = BoxAssociation().eval()
    logits, valid = model(frames)
    assert logits.shape == valid.shape == (3, 4, 5)
    for row, frame in enumerate(frames):
        alone = model([frame])[0][0]
        assert valid[row].sum() == alone.numel()
        torch.testing.assert_close(logits[row, : alone.shape[0], : alone.shape[1]], alone)


def test_cost_is_one_minus_score_with_tracks_as_rows():
    model = BoxAssociation().eval()
    tracks, detections = batches()
    cost = LAMOTRCost(model=model)(tracks, detections)
    assert cost.shape == (3, 4)
    logits = model([association_features(tracks, detections)])[0][0].double()
    np.testing.assert_allclose(cost, 1 - logits.sigmoid().detach().numpy().T)
    for sizes in ((0, 3), (3, 0)):
        assert LAMOTRCost(model=model)(*batches(0, *sizes)).shape == sizes


def test_learns_pairs_that_overlap_cannot_find(records, model):
    quality = association_quality(model, records[-50:])
    assert quality.precision > 0.95
    assert quality.recall > 0.9
    boxes = [(one.features, i, j) for one in records[-50:] for i, j in np.argwhere(one.target)]
    apart = sum(
        (np.abs(f.detection_boxes_cxcywh[i, :2] - f.track_boxes_cxcywh[j, :2]) > f.track_boxes_cxcywh[j, 2:]).any()
        for f, i, j in boxes
    )
    assert apart > 0


def test_tracks_fast_objects_better_than_overlap(model):
    """IDF1 of ByteTrack on an unseen scene: 87 by IoU, 93 by the learned cost."""
    test = [make_walkers(100, 15)]
    overlap = track(lambda: ByteTrack(max_age=5), test)
    learned = track(lambda: ByteTrack(max_age=5, cost=LAMOTRCost(model=model)), test)
    assert learned > overlap + 2, (learned, overlap)


@pytest.mark.parametrize("tracker", [ByteTrack, Sort, OCSort])
def test_cost_in_every_tracker(tracker, model, tmp_path):
    save_cost(model, tmp_path / "cost.pt", "walkers")
    built = tracker(cost=f"lamotr:{tmp_path / 'cost.pt'}")
    assert repr(built.cost) == f"LAMOTRCost({str(tmp_path / 'cost.pt')!r})"
    seen = set()
    for left in range(0, 200, 8):
        box = np.array([[left, 100.0, left + 40, 200], [900 - left, 500, 940 - left, 600]])
        seen |= set(built.update(box, np.full(2, 0.9)).ids.tolist())
    assert len(seen) == 2


def test_training_is_reproducible_and_leaves_the_random_state(records):
    state = torch.random.get_rng_state()
    first, second = (learn_cost(records[:30], CostTraining(steps=3, batch_size=2)) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    other = learn_cost(records[:30], CostTraining(steps=3, batch_size=2, seed=1))
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)]
    assert all(same)
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_saved_and_loaded(model, tmp_path):
    save_cost(model, tmp_path / "cost.pt")
    given = [association_features(*batches())]
    assert torch.equal(load_cost(tmp_path / "cost.pt")(given)[0], model(given)[0])


def test_invalid_files(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pt: file not found; train a cost with mot lamotr learn-cost"):
        read_cost(f"lamotr:{tmp_path / 'none.pt'}")
    path = tmp_path / "cost.pt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match="expected a file of mot lamotr learn-cost, got another checkpoint"):
        load_cost(path)
    save_cost(model, path)
    saved = torch.load(path, weights_only=True)
    torch.save(saved | {"version": 9}, path)
    with pytest.raises(ValueError, match="expected format version 1, got 9"):
        load_cost(path)
    torch.save(saved | {"settings": {"embed_dim": "wide"}}, path)
    with pytest.raises(ValueError, match="expected the settings and weights of a lamotr cost, got"):
        load_cost(path)
    with pytest.raises(ValueError, match="expected a trained network, got none; pass checkpoint=FILE or model"):
        LAMOTRCost()


def test_invalid_training(records):
    with pytest.raises(
        ValueError, match="steps, batch_size, lr: expected at least 2, at least 1 and more than 0, got 1"
    ):
        CostTraining(steps=1)
    with pytest.raises(ValueError, match="expected frames in which a detection continues a track, got none"):
        learn_cost([])


def test_commands(folder, tmp_path, capsys):
    """Learn from two scenes and track a third one."""
    cost, out = tmp_path / "new" / "cost.pt", tmp_path / "out"
    sources = [str(folder / "walk0"), str(folder / "walk1")]
    options = ["--benchmark", "generic", "--output"]
    assert main(["lamotr", "learn-cost", *sources, "--steps", "20", *options, str(cost)]) == 0
    printed = capsys.readouterr().out
    assert "of 2 sequences" in printed
    assert f"--cost lamotr:{cost}" in printed
    tracked = ["track", str(folder / "walk2"), "--tracker", "bytetrack", "--cost", f"lamotr:{cost}"]
    assert main([*tracked, *options, str(out)]) == 0
    assert len(read_mot(out / "walk2.txt", kind="results")) > 100
    assert f"LAMOTRCost('{cost}')" in (out / "run.yaml").read_text()
    assert main([*tracked[:-1], "lamotr", *options, str(out)]) == 1
    assert "cost: expected iou or pixel_iou or" in capsys.readouterr().err


def test_command_without_ground_truth(tmp_path, capsys):
    path = make_scene(num_objects=3, num_frames=20).save(tmp_path)
    (path / "gt" / "gt.txt").unlink()
    command = ["lamotr", "learn-cost", str(path), "--benchmark", "generic", "--output", str(tmp_path / "cost.pt")]
    assert main(command) == 1
    assert "gt.txt" in capsys.readouterr().err
    assert not (tmp_path / "cost.pt").exists()
