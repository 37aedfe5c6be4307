"""Effect of the UniTrack loss on the identity half of MOTIP, on given boxes: minutes for a table that shows 2 points.

    python -m benchmarks.unitrack.identity_half                 run what is missing in the results, two at a time
    python -m benchmarks.unitrack.identity_half --table         only regenerate docs/unitrack_results.md

The detector of MOTIP is replaced by the true boxes, jittered by 5 % and with 10 % misses, and by a small encoder of
their 12x12 crops. Its trajectory model, ID decoder, label drawing and memory are those of MOTIP. A run trains 600 steps
of 4 clips with 4 to 8 objects, every eighth frame, and tracks 50 unseen videos. "from scratch" starts from random
weights; "knowing" from an encoder that was trained to distinguish the objects of a frame by their crops alone.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.paired import complete
from benchmarks.provenance import ROOT, provenance
from benchmarks.training.held_out import evaluate
from benchmarks.training.learning import unseen_frames
from benchmarks.unitrack.links import links
from benchmarks.unitrack.tables import IDENTITY_HALF as RESULTS
from benchmarks.unitrack.tables import STANDARD, refresh
from mot_core.boxes import cxcywh_to_xyxy, denormalize_boxes
from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
from mot_core.nn import MLP, DetectorOutput
from mot_core.nn.roi_align import roi_align
from mot_core.plugins import Context
from mot_core.slots import slot_iou, trajectories
from mot_core.structures import ClipBatch, ClipOutput, FrameTargets
from mot_core.trackers import MOTIP, DetectorSettings
from mot_core.trackers.outputs import FrameTracks, frame_output
from unitrack_loss import UniTrackPlugin

SOURCES = ("benchmarks/unitrack/identity_half.py", "packages/mot-core/src", "packages/unitrack-loss/src")
WIDTH, CROP = 64, 12
JITTER, MISSED = 0.05, 0.1
SCENE: dict[str, Any] = {
    "num_frames": 30,
    "image_size": [96, 160],
    "num_objects": [4, 8],
    "frame_step": 8,
    "likeness": 0.8,
}
CLIP, CLIPS, KNOWING_STEPS = 6, 4, 300
STEPS = STANDARD[0]
VIDEOS, TEST_SEED = 50, 1_000_000
SEEDS = range(5)
STARTS = ("from scratch", "knowing")
VARIANTS: dict[str, dict[str, Any] | None] = {
    "alone": None,
    "UniTrack": {"weight": 1.0},
    "paper's terms": {"preset": "paper"},
    "adjacent edges": {"weight": 1.0, "edges": "adjacent"},
    "rivals of the own frame": {"weight": 1.0, "rivals": "own_frame"},
    "no rivals": {"weight": 1.0, "rivals": "none"},
    "odds of place": {"weight": 1.0, "odds": "place"},
    "weight 0.3": {"weight": 0.3},
    "weight 2": {"weight": 2.0},
    "warm-up over 300 steps": {"weight": 1.0, "warmup_steps": 300},
    "tau 0.05": {"weight": 1.0, "tau": 0.05},
    "tau 0.2": {"weight": 1.0, "tau": 0.2},
}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", choices=STARTS, help="weights of the encoder to start from; default: both")
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="seeds of weights and videos")
    parser.add_argument("--steps", type=int, nargs="+", default=[STEPS], help="training steps of 4 clips")
    parser.add_argument("--clips", type=int, nargs="+", help="different clips to train on; default: 4 for each step")
    parser.add_argument("--videos", type=int, default=VIDEOS, help="test videos")
    parser.add_argument("--test-seed", type=int, default=TEST_SEED, help="seed of the test videos")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "identity_half", help="folder for encoders")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that gets a line for each run")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, with one thread each")
    parser.add_argument("--table", action="store_true", help="only regenerate the tables")
    options = parser.parse_args(arguments)
    if not options.table:
        keys = [
            {
                "tracker": f"identity half of MOTIP, {start}",
                "scene": SCENE,
                "variant": variant,
                "seed": seed,
                "settings": VARIANTS[variant],
                "steps": steps,
                "clips": clips or CLIPS * steps,
                "videos": options.videos,
                "test_seed": options.test_seed,
            }
            for seed in options.seeds
            for steps in options.steps
            for clips in options.clips or (None,)
            for start in (STARTS if options.start is None else (options.start,))
            for variant in options.variant
        ]
        complete(options.results, keys, partial(measure, options.output), options.processes)
    if options.results == RESULTS:
        refresh()


class Encoder(nn.Module):
    """Embeddings of boxes: an encoder of their crops, and one of their coordinates."""

    def __init__(self) -> None:
        super().__init__()
        self.crop = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.GELU(), nn.Conv2d(32, 64, 3, 2, 1), nn.GELU(),
            nn.Flatten(), nn.Linear(64 * (CROP // 2) ** 2, WIDTH), nn.LayerNorm(WIDTH),
        )  # fmt: skip
        self.place = MLP(4, WIDTH, WIDTH, 2)
        self.join = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))

    def appearance(self, images: Tensor, boxes_cxcywh: Tensor) -> Tensor:
        """Encode the crops ``(B, N)`` of normalized boxes of images, ``(B, N, 64)``."""
        clips, count = boxes_cxcywh.shape[:2]
        size = boxes_cxcywh.new_tensor(images.shape[-2:]).expand(clips, 2)
        boxes = denormalize_boxes(cxcywh_to_xyxy(boxes_cxcywh), size).flatten(0, 1)
        rows = torch.arange(clips).repeat_interleave(count)
        result: Tensor = self.crop(roi_align(images, boxes, rows, 1.0, CROP)).unflatten(0, (clips, count))
        return result

    def forward(self, images: Tensor, boxes_cxcywh: Tensor) -> Tensor:
        """Encode crops and coordinates, ``(B, N, 64)``."""
        result: Tensor = self.join(torch.cat([self.appearance(images, boxes_cxcywh), self.place(boxes_cxcywh)], -1))
        return result


class IdentityHalf(MOTIP):
    """MOTIP on given boxes. The targets of a batch give the boxes, in tracking too."""

    def __init__(self, seed: int = 0) -> None:
        unused = DetectorSettings(
            "small", num_queries=1, embed_dim=WIDTH, num_heads=1, ffn_dim=8, num_levels=3, num_encoder_layers=1,
            num_decoder_layers=1,
        )  # fmt: skip
        super().__init__(
            unused, num_words=20, id_layers=2, max_distance=CLIP, miss_tolerance=CLIP, groups=4, switch=0.2, seed=seed
        )
        self.detector.requires_grad_(False)
        self.encoder = Encoder()
        self._given: tuple[Tensor, Tensor] | None = None

    def clip_losses(self, batch: ClipBatch, ctx: Context) -> tuple[dict[str, Tensor], ClipOutput]:
        """Compute ``id``, from the embeddings of the given boxes."""
        assert batch.targets is not None, "checked by Tracker.losses"
        frames = []
        for index, truth in enumerate(batch.targets):
            boxes, found = given(batch, index, self.seed + ctx.step)
            frame = frame_output(self._output(batch.images[:, index], boxes, found), batch, index)
            rows = torch.arange(found.shape[1]).expand_as(found)
            frame = replace(frame, valid=found, gt_index=rows.where(found, -1))
            frames.append(replace(frame, iou=slot_iou(frame, truth)))
        clip = ClipOutput(frames, list(batch.targets))
        return {"id": self._id_loss(batch, trajectories(clip), ctx)}, clip

    def track_frame(self, batch: ClipBatch, ctx: Context) -> FrameTracks:
        """Identify the given boxes."""
        self._given = given(batch, 0, 0)
        return super().track_frame(batch, ctx)

    def detect(self, images: Tensor, padding: Tensor, ctx: Context, *tracks: Any) -> Any:
        """Return the given boxes in place of detections."""
        assert self._given is not None, "set by track_frame"
        return self._output(images, *self._given), None

    def _output(self, images: Tensor, boxes: Tensor, found: Tensor) -> DetectorOutput:
        logits = torch.where(found, 4.0, -9.0)[None, ..., None]
        return DetectorOutput(logits, boxes[None], self.encoder(images, boxes)[None], [boxes])


def given(batch: ClipBatch, index: int, key: int) -> tuple[Tensor, Tensor]:
    """Return jittered boxes of all objects of a frame ``(B, M, 4)``, and which of them a detector would find."""
    truth: FrameTargets = batch.targets[index]  # type: ignore[index]  # checked by the callers
    boxes, found = truth.boxes_cxcywh.clone(), truth.valid.clone()
    for row, (name, number) in enumerate(zip(batch.sequences, batch.times[:, index].tolist(), strict=True)):
        draw = torch.Generator().manual_seed(crc32(f"{key} {name} {number}".encode()))
        moved = torch.randn(boxes.shape[1], 4, generator=draw) * JITTER
        boxes[row, :, :2] += moved[:, :2] * boxes[row, :, 2:]
        boxes[row, :, 2:] *= moved[:, 2:].exp()
        found[row] &= torch.rand(boxes.shape[1], generator=draw) >= MISSED
    return boxes, found


def batches(seed: int, steps: int, clips: int) -> Iterator[ClipBatch]:
    """Yield the batches of a training on a number of clips, again and again."""
    video = SyntheticVideo(clips, seed=seed, **SCENE)
    dataset = ClipDataset(video, ClipSampling(CLIP, stride=SCENE["num_frames"]), seed=seed)
    for step in range(steps):
        yield collate([dataset[(step * CLIPS + one) % clips] for one in range(CLIPS)])


def measure(output: Path, tracker: str, seed: int, settings: Mapping[str, Any] | None, **key: Any) -> dict[str, Any]:
    """Train and test once; return the measurements of a line of the results."""
    torch.manual_seed(seed)
    began = time.process_time()
    model = IdentityHalf(seed)
    if tracker.endswith("knowing"):
        model.encoder.load_state_dict(knowing_encoder(output, seed))
    if settings is not None:
        model.attach(UniTrackPlugin(**settings))
    train(model, batches(seed, key["steps"], key["clips"]), key["steps"])
    minutes = (time.process_time() - began) / 60
    test = evaluate(model, unseen_frames(SCENE, key["videos"], [key["test_seed"]]), tracker)
    linked = links(model, SCENE, key["videos"], key["test_seed"])
    return {**provenance(*SOURCES), "cpu_minutes": round(minutes, 2), "test": test, "links": linked}


def train(tracker: IdentityHalf, batches: Iterator[ClipBatch], steps: int) -> None:
    """Train with AdamW; the learning rate falls to a tenth for the last fifth."""
    tracker.setup()
    tracker.train()
    weights = [one for one in tracker.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(weights, 1e-3, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [4 * steps // 5])
    for step, batch in enumerate(batches):
        losses, _ = tracker.losses(batch, step=step)
        optimizer.zero_grad()
        sum(losses.values(), torch.zeros(())).backward()
        nn.utils.clip_grad_norm_(weights, 0.1)
        optimizer.step()
        schedule.step()


def knowing_encoder(output: Path, seed: int) -> dict[str, Tensor]:
    """Return the weights of an encoder whose crops find their object in a random other frame; trained once per seed."""
    path = output / f"encoder-{KNOWING_STEPS}-seed{seed}.pt"
    if not path.exists():
        encoder = Encoder()
        optimizer = torch.optim.AdamW(encoder.parameters(), 1e-3)
        for batch in batches(seed + 10_000, KNOWING_STEPS, CLIPS * KNOWING_STEPS):
            assert batch.targets is not None, "synthetic video has ground truth"
            total = torch.zeros(())
            for one, other in ((0, 2), (1, 5), (3, 4)):
                first, second = batch.targets[one], batch.targets[other]
                rows = F.normalize(encoder.appearance(batch.images[:, one], first.boxes_cxcywh), dim=-1)
                columns = F.normalize(encoder.appearance(batch.images[:, other], second.boxes_cxcywh), dim=-1)
                same = (first.ids[:, :, None] == second.ids[:, None]) & first.valid[..., None] & second.valid[:, None]
                cosines = (rows @ columns.transpose(1, 2) / 0.1).masked_fill(~second.valid[:, None], -1e4)
                wanted, target = same.any(2), same.float().argmax(2)
                total = total + F.cross_entropy(cosines[wanted], target[wanted])
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_path = path.with_name(f"{path.name}.{os.getpid()}.part")
        torch.save(encoder.state_dict(), partial_path)
        partial_path.replace(path)
    weights: dict[str, Tensor] = torch.load(path, weights_only=True)
    return weights


if __name__ == "__main__":
    main()
