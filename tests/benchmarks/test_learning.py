import json
import math
from types import SimpleNamespace

import pytest
import torch

from _helpers.trackers.tracker_cases import make
from benchmarks.training import held_out, learning, learning_table
from mot_core.boxes import cxcywh_to_xyxy
from mot_core.data import SyntheticDataModule
from mot_core.nn import DetectorOutput
from mot_core.structures import Tracks
from mot_core.trackers.outputs import frame_output


class Oracle:
    """Tracker with perfect detections plus weak ones, and with true or with new identities."""

    capabilities = frozenset({"track_queries"})

    def __init__(self, knows):
        self.knows = knows
        self.next_id = 0
        self.options = {"object_supervision": "untracked"}
        self.plugins = SimpleNamespace(on_embeddings=lambda frame, ctx: frame)

    def eval(self):
        pass

    def detector(self, images, padding):
        return self.last

    def detect(self, batch):
        truth = batch.targets[0]
        boxes = truth.boxes_cxcywh[:, truth.valid[0]]
        count = boxes.shape[1]
        logits = torch.cat([torch.full((count,), 4.0), torch.full((count,), -4.0)]).view(1, 1, -1, 1)
        both = torch.cat([boxes, boxes / 2], 1)[None]
        self.last = DetectorOutput(logits, both, both, [])
        self.plugins.on_embeddings(frame_output(self.last, batch, 0), None)
        return self.last, None

    def track(self, batch):
        output, _ = self.detect(batch)
        count = output.boxes_cxcywh.shape[2] // 2
        height, width = batch.original_size[0].tolist()
        boxes = cxcywh_to_xyxy(output.boxes_cxcywh[0, 0, :count]) * torch.tensor([width, height, width, height])
        ids = batch.targets[0].ids[0][batch.targets[0].valid[0]]
        if not self.knows:
            ids = torch.arange(count) + self.next_id
            self.next_id += count
        return Tracks(ids, boxes, torch.ones(count))


def test_tracks_are_no_second_detections():
    """If learned queries detect all objects, the slots of tracks after them do not count as detections."""
    output = DetectorOutput(torch.zeros(1, 1, 5, 1), torch.rand(1, 1, 5, 4), torch.rand(1, 1, 5, 8), [])
    batch = next(iter(SyntheticDataModule(num_val_videos=1, num_frames=1).test_dataloader()))
    for kind, count in (("untracked", 5), ("all", 3)):
        tracker = SimpleNamespace(options={"object_supervision": kind}, detector=SimpleNamespace(num_queries=3))
        boxes, scores = held_out._detections(output, tracker, batch)
        assert len(boxes) == len(scores) == count


@pytest.mark.parametrize("knows", [True, False])
def test_scores_of_detection_and_identities(knows):
    data = SyntheticDataModule(num_val_videos=3, num_frames=15, frame_step=8, num_objects=(4, 6))
    tracker = Oracle(knows)
    result = held_out.evaluate(tracker, data.test_dataloader(), "oracle")
    assert result["frames"] == 45
    assert result["objects"] > 100
    assert (result["recall"], result["precision"], result["recall_alone"]) == (100, 100, 100)
    scores = result["trackers"]
    share, mean = similarity_of_boxes(data)
    assert result["similar_objects"] == pytest.approx(share)
    assert result["similarity"] == pytest.approx(mean, rel=1e-5)
    assert list(scores) == ["oracle", "SORT", "ByteTrack", "OC-SORT"]
    if knows:
        assert scores["oracle"]["HOTA"] == pytest.approx(100)
        # Motion alone is not sufficient in these videos.
        assert all(15 < scores[name]["IDF1"] < 90 for name in ("SORT", "ByteTrack", "OC-SORT"))
    else:
        assert scores["oracle"]["IDF1"] < 20
    assert scores["oracle"]["DetA"] == pytest.approx(100)
    assert "detect" not in vars(tracker) or tracker.detect.__func__ is Oracle.detect  # the observer is removed


def test_detections_of_a_dense_detector():
    """ByteTrack on them scores like the tracker, which drops only boxes outside of the image."""
    thresholds = {"score_threshold": 0.0, "track_threshold": 0.4, "birth_threshold": 0.5, "min_area": 0}
    tracker = make("yolox_bytetrack", **thresholds)
    for head in tracker.detector.head.object_heads:
        torch.nn.init.constant_(head.bias, 4.0)
    for head in tracker.detector.head.class_heads:
        torch.nn.init.constant_(head.bias, 4.0)
    result = held_out.evaluate(tracker, SyntheticDataModule(num_val_videos=1, num_frames=4).test_dataloader(), "own")
    assert 0 < result["precision"] < 100
    assert result["recall"] == result["recall_alone"]
    assert result["trackers"]["own"] == pytest.approx(result["trackers"]["ByteTrack"], rel=0.01)
    assert 0 < abs(result["similarity"]) < 1


def similarity_of_boxes(data):
    """Cosine of the boxes of two objects in a frame, the embeddings of the oracle: percentage above 0.9, and mean."""
    pairs = []
    for batch in data.test_dataloader():
        boxes = batch.targets[0].boxes_cxcywh[0][batch.targets[0].valid[0]].tolist()
        pairs += [(one, other) for place, one in enumerate(boxes) for other in boxes[:place]]
    cosines = [sum(a * b for a, b in zip(*pair, strict=True)) / math.hypot(*pair[0]) / math.hypot(*pair[1])
               for pair in pairs]  # fmt: skip
    return 100 * sum(cosine > 0.9 for cosine in cosines) / len(cosines), sum(cosines) / len(cosines)


def line(tracker, seed, hota, date="2026-11-21T10:00:00+00:00"):
    scores = {"HOTA": hota, "DetA": 60.0, "AssA": 50.0, "IDF1": 70.04, "MOTA": 65.0, "IDSW": 12}
    return {
        "date": date,
        "commit": "abc1234",
        "machine": {"cpu": "A CPU", "cores": 2, "system": "Linux x86_64"},
        "tracker": tracker,
        "seed": seed,
        "parameters": 846_076,
        "steps": 6000,
        "cpu_minutes": 7.5 + seed,
        "scene": {"frame_step": 8},
        "test": {
            "videos": 100,
            "recall": 85.0 + seed,
            "precision": 90.0,
            "trackers": {tracker: scores, "ByteTrack": scores},
        },
    }


def test_table_of_the_newest_runs(tmp_path):
    results = tmp_path / "learning.jsonl"
    lines = [line("MOTIP", 0, 1.0), line("MOTIP", 1, 50.0), line("MOTIP", 0, 40.0), line("MOTR", 0, 30.0)]
    results.write_text("".join(json.dumps(one) + "\n" for one in lines))
    text = learning_table.render(learning_table.read(results))
    assert "0.85 million parameters, seeds 0, 1: 6,000 steps" in text
    assert "in 8.0 ± 0.7 minutes on one core (A CPU, Linux x86_64; 2026-11-21 at commit abc1234)" in text
    assert "The 100 test videos show every 8th frame. HOTA per seed: 40.0, 50.0." in text
    assert "recall 85.5 ± 0.7 % (per seed: 85.0, 86.0), precision 90.0 ± 0.0 %" in text
    assert "| MOTIP | 45.0 ± 7.1 (worst 40.0) | 60.0 ± 0.0 (worst 60.0) | " in text
    assert " | 12.0 ± 0.0 (worst 12.0) |" in text
    assert "| MOTR | 30.0 | 60.0 |" in text


def test_lines_of_an_earlier_recipe_are_left_out(tmp_path):
    results = tmp_path / "learning.jsonl"
    lines = [line("MOTIP", 0, 1.0), line("MOTIP", 1, 2.0), line("MOTIP", 1, 50.0) | {"recipe": "new"}]
    lines += [line("MOTR", 0, 3.0)]
    results.write_text("".join(json.dumps(one) + "\n" for one in lines))
    found = learning_table.read(results)
    assert [(one["tracker"], one["seed"], one.get("recipe")) for one in found] == [
        ("MOTIP", 1, "new"),
        ("MOTR", 0, None),
    ]


def test_refresh_keeps_the_text(tmp_path):
    results, page = tmp_path / "learning.jsonl", tmp_path / "results.md"
    results.write_text(json.dumps(line("MOTIP", 0, 40.0)) + "\n")
    page.write_text("before\n\n<!-- learning: begin -->\nold\n<!-- learning: end -->\n\nafter\n")
    learning_table.refresh(results, page)
    learning_table.refresh(results, page)
    text = page.read_text()
    assert text.startswith("before\n\n<!-- learning: begin -->\n\n### MOTIP")
    assert text.endswith("\n\n<!-- learning: end -->\n\nafter\n")
    assert "old" not in text


def test_page_has_the_results():
    text = learning_table.PAGE.read_text(encoding="utf-8")
    assert learning_table.render(learning_table.read()) in text, "python -m benchmarks.training.learning --table"


@pytest.mark.parametrize("tracker", learning.TRACKERS)
def test_training_resuming_and_scoring(tracker, tmp_path, capsys):
    results = tmp_path / "learning.jsonl"
    command = [
        "--tracker",
        tracker,
        "--seed",
        "3",
        "--output",
        str(tmp_path),
        "--results",
        str(results),
        "--videos",
        "1",
        "--processes",
        "1",
    ]
    short = ["--trainer.max_epochs", "-1", "--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "0"]
    for steps in (2, 3):
        learning.main([*command, "--", *short, "--trainer.max_steps", str(steps)])
    first, second = (json.loads(one) for one in results.read_text().splitlines())
    assert (first["steps"], second["steps"]) == (2, 3)
    assert second["seed"] == 3
    assert "--data.init_args.seed 3" in second["command"]
    assert second["test"]["videos"] == len(learning.TEST_SEEDS)
    assert second["test"]["frames"] == len(learning.TEST_SEEDS) * second["scene"]["num_frames"]
    learning.main([*command, "--", *short, "--trainer.max_steps", "3"])
    assert len(results.read_text().splitlines()) == 2  # not repeated
    assert 0 <= second["test"]["recall"] <= 100
    assert second["tracker"] in second["test"]["trackers"]
