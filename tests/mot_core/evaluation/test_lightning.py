"""The metric in the validation loop of a LightningModule."""

import lightning
import pytest
import torch
from torch.utils.data import DataLoader

from mot_core import ByteTrack
from mot_core.evaluation import TrackingMetrics, evaluate
from mot_core.io import ResultWriter, find_sequences, make_scene


class Validated(lightning.LightningModule):
    def __init__(self, results):
        super().__init__()
        self.metrics = TrackingMetrics()
        self.results = results

    def validation_step(self, batch, batch_index):
        sequence, frame, boxes_xyxy, scores, gt_ids, gt_boxes_xyxy = batch
        if frame == 1:
            self.tracker = ByteTrack()
        tracks = self.tracker.update(boxes_xyxy, scores)
        self.results[sequence].write(frame, tracks)
        self.metrics.update(sequence, frame, tracks.ids, tracks.boxes_xyxy, gt_ids, gt_boxes_xyxy)

    def on_validation_epoch_end(self):
        self.log_dict(self.metrics.compute())
        self.metrics.reset()


def frames_of(sequences):
    for sequence in sequences:
        truth, found = sequence.ground_truth(), sequence.detections()
        for frame in sequence.frame_numbers():
            gt, rows = truth.frame(frame), found.frame(frame)
            arrays = found.boxes_xyxy[rows], found.scores[rows], truth.ids[gt], truth.boxes_xyxy[gt]
            yield sequence.name, frame, *map(torch.from_numpy, arrays)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # Lightning 2.6 with torch 2.13
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_logged_scores_equal_scores_of_files(tmp_path):
    for seed, name in enumerate("ab"):
        make_scene(seed=seed, num_objects=6, num_frames=30).save(tmp_path / "gt", name)
    sequences = find_sequences(tmp_path / "gt", benchmark="generic")
    results = {one.name: ResultWriter(tmp_path / "results" / f"{one.name}.txt", decimals=12) for one in sequences}
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    loader = DataLoader(list(frames_of(sequences)), batch_size=None)
    with results["a"], results["b"]:
        (logged,) = trainer.validate(Validated(results), loader, verbose=False)
    combined = evaluate(tmp_path / "results", tmp_path / "gt", benchmark="generic").combined
    assert {"HOTA", "MOTA", "IDF1", "IDSW"} < logged.keys()
    assert logged == pytest.approx({name: combined[name] for name in logged}, rel=1e-6)
