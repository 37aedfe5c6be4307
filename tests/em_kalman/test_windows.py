from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from em_kalman import DetectionSequence, WindowBatch, WindowSampler
from mot_core.io import BoxTable, make_scene


def sequence(counts, name="street"):
    frames = np.repeat(np.arange(1, len(counts) + 1), counts)
    boxes = np.tile([0.0, 0.0, 10.0, 20.0], (len(frames), 1))
    boxes[:, [0, 2]] += np.arange(len(frames))[:, None]
    table = BoxTable(frames, np.full(len(frames), -1), boxes)
    return DetectionSequence(name, table, range(1, len(counts) + 1), (480, 640))


def test_window_contents():
    street = sequence([2, 3, 0, 1, 2, 2, 1])
    windows = WindowSampler([street], num_frames=3, stride=1, frame_step=2)
    assert [windows[i].frames.tolist()[0] for i in range(len(windows))] == [[1, 3, 5], [2, 4, 6]]
    assert windows.skipped == 1  # starts with the empty frame
    window = windows[1]
    for position, frame in enumerate((2, 4, 6)):
        found = window.boxes_xyxy[0, position][window.valid[0, position]]
        wanted = street.table.boxes_xyxy[street.table.frame(frame)]
        assert sorted(found.tolist()) == wanted.tolist()
    assert window.image_size.tolist() == [[480, 640]]


def test_constant_count_policy():
    windows = WindowSampler([sequence([2, 2, 2, 3, 3])], num_frames=2, stride=1, policy="constant_count")
    assert [windows[i].frames[0, 0].item() for i in range(len(windows))] == [1, 2, 4]
    assert all(window.valid.all() for window in windows)


def test_shuffling_is_reproducible():
    windows = WindowSampler([sequence([8] * 10)], num_frames=10, stride=1)
    first = windows[0].boxes_xyxy[0, :, :, 0]
    assert torch.equal(first, windows[0].boxes_xyxy[0, :, :, 0])
    ranks = first.argsort(-1)
    assert not any(torch.equal(ranks[0], rank) for rank in ranks[1:])
    other = WindowSampler([sequence([8] * 10)], num_frames=10, stride=1, seed=1)[0].boxes_xyxy[0, :, :, 0]
    assert not torch.equal(first, other)


def test_embeddings_stay_with_their_detections():
    street = sequence([2, 3, 1, 4])
    marks = torch.as_tensor(street.table.boxes_xyxy[:, :2], dtype=torch.float32) * torch.tensor([1.0, -2.0])
    windows = WindowSampler([replace(street, embeddings=marks)], num_frames=2, stride=2)
    (batch,) = DataLoader(windows, batch_size=8, collate_fn=WindowBatch.stack)
    assert torch.equal(batch.embeddings, batch.boxes_xyxy[..., :2] * torch.tensor([1.0, -2.0]))
    with pytest.raises(ValueError, match=r"street: expected embeddings of shape \(10, 'E'\), .* got \(9, 2\)"):
        replace(street, embeddings=marks[1:])


def test_loader_stacks_windows():
    windows = WindowSampler([sequence([2, 3, 1, 4])], num_frames=2, stride=2)
    (batch,) = DataLoader(windows, batch_size=8, collate_fn=WindowBatch.stack)
    assert batch.valid.sum(2).tolist() == [[2, 3], [1, 4]]
    assert batch.valid.shape == (2, 2, 4)
    assert batch.first_frames(2).valid.shape == (2, 2, 4)


def test_ground_truth_is_never_opened(tmp_path, monkeypatch):
    folder = make_scene(num_objects=4, num_frames=30).save(tmp_path, "MOT17-99")
    (folder / "gt" / "gt.txt").write_text("not to be read\n")
    opened = []
    original = type(tmp_path).open
    monkeypatch.setattr(type(tmp_path), "open", lambda self, *a, **k: opened.append(self) or original(self, *a, **k))
    windows = WindowSampler.from_folder(tmp_path, benchmark="generic", min_score=0.3)
    assert len(windows) == 2
    assert all("gt" not in path.parts for path in opened)
    assert len(windows[0].boxes_xyxy)


def test_invalid_arguments(tmp_path):
    with pytest.raises(ValueError, match="num_frames, stride, frame_step: expected at least 2"):
        WindowSampler([], num_frames=1)
    with pytest.raises(ValueError, match="policy must be dustbin or constant_count"):
        WindowSampler([], policy="all")
    flat = sequence([2, 2])
    flat.table.boxes_xyxy[0, 3] = -5
    with pytest.raises(ValueError, match="street: expected boxes with an area, got 1 of 4 without"):
        WindowSampler([flat])
    folder = make_scene(num_objects=4, num_frames=30).save(tmp_path)
    info = (folder / "seqinfo.ini").read_text().splitlines()
    (folder / "seqinfo.ini").write_text("\n".join(line for line in info if "imWidth" not in line))
    with pytest.raises(ValueError, match=r"expected an image size"):
        WindowSampler.from_folder(tmp_path, benchmark="generic")
    with pytest.raises(ValueError, match="valid must have shape"):
        WindowBatch(torch.zeros(1, 2, 3, 4), torch.ones(1, 2, 4).bool(), torch.ones(1, 2), torch.ones(1, 2))
    with pytest.raises(ValueError, match="at least one window"):
        WindowBatch.stack([])
    with pytest.raises(ValueError, match="image_size: expected"):
        WindowBatch(torch.zeros(1, 2, 3, 4), torch.ones(1, 2, 3).bool(), None, torch.ones(1, 2))
