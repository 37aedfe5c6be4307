"""Effect of the UniTrack loss on the small trackers on synthetic video: the runs of ``learning.py`` with the callback.

    python -m benchmarks.unitrack.trackers                                run what is missing in the results
    python -m benchmarks.unitrack.trackers --tracker motip --seed 0 --variant UniTrack
    python -m benchmarks.unitrack.trackers --table                        regenerate docs/unitrack_results.md
    python -m benchmarks.unitrack.trackers --pictures docs/images         draw the flow of one clip, with and without

Each run is the command of ``learning.py`` with the same seed (MOTR for five epochs, not seven) and
``--trainer.callbacks+=UniTrackCallback``. In addition to its tracks, every network is tested for the similarity of its
embeddings of an object. An interrupted run resumes where it stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks.paired import complete, read
from benchmarks.provenance import ROOT
from benchmarks.training.learning import SCENE, TEST_SEEDS, TRACKERS, VIDEOS, checkpoint, recipe, run
from benchmarks.unitrack.tables import LINKS, refresh
from benchmarks.unitrack.tables import TRACKERS as RESULTS
from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
from mot_core.trackers import Tracker
from unitrack_loss import TrackClip, plot
from unitrack_loss.track_clip import track_clip

CALLBACK = "--trainer.callbacks+=unitrack_loss.lightning.UniTrackCallback"
GATED = (CALLBACK, "--trainer.callbacks.weight=0.03")
VARIANTS: dict[str, tuple[str, ...]] = {
    "alone": (),
    "UniTrack": (*GATED, "--trainer.callbacks.gate_confidence=false"),
    "UniTrack gated": GATED,
    "UniTrack gated, 0.01": (CALLBACK, "--trainer.callbacks.weight=0.01"),
}
MORE = {
    "motr": ("--trainer.max_epochs=5", "--model.init_args.optimizer.milestones=[4]"),
    "yolox_bytetrack": ("--model.init_args.detector.embed_dim=32",),  # links are measured on embeddings
}
SEEDS = (0, 1, 2)
CLIP = 6  # frames per clip for measuring links
GAPS = (1, CLIP - 1)
DRAWN = 36  # index of the drawn clip


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracker", choices=TRACKERS, help="tracker to train; default: all")
    parser.add_argument("--seed", type=int, help="seed of weights and videos; default: 0, 1 and 2")
    parser.add_argument("--variant", choices=VARIANTS, help="variant of the loss; default: all")
    parser.add_argument(
        "--alone", type=Path, default=ROOT / "runs" / "learning", help="checkpoints of the runs in --learned"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "unitrack", help="folder for checkpoints")
    parser.add_argument("--learned", type=Path, help="results of learning.py, whose runs are reused")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file that gets a line for each run")
    parser.add_argument("--videos", type=int, default=VIDEOS, help="number of test videos of each test seed")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, with one thread each")
    parser.add_argument("--table", action="store_true", help="only regenerate the tables")
    parser.add_argument("--pictures", type=Path, help="folder; only draw the flow of MOTIP of seed 0")
    parser.add_argument("more", nargs="*", help="more arguments for mot fit, after --")
    options = parser.parse_args(arguments)
    if options.pictures is not None:
        draw(options)
    elif not options.table:
        torch.set_num_threads(1)
        keys = [
            {"tracker": TRACKERS[tracker], "seed": seed, "variant": variant, "recipe": recipe(f"{tracker}_synthetic")}
            for seed in (SEEDS if options.seed is None else (options.seed,))
            for tracker in (TRACKERS if options.tracker is None else (options.tracker,))
            for variant in (VARIANTS if options.variant is None else (options.variant,))
        ]
        complete(options.results, keys, partial(measure, options), options.processes)
    if options.results == RESULTS:
        refresh()


def where(tracker: str, seed: int, variant: str, options: argparse.Namespace) -> Path:
    """Return the folder of a run."""
    config = f"{tracker}_synthetic"
    if variant == "alone" and options.learned is not None:
        return Path(options.alone, f"{tracker}-{recipe(config)}-seed{seed}")
    return Path(options.output, f"{tracker}-{variant}-{recipe(config)}-seed{seed}".replace(" ", "_"))


def measure(options: argparse.Namespace, seed: int, variant: str, **key: str) -> dict[str, Any]:
    """Train and test once, or take the run without the loss from the results of ``learning.py``."""
    tracker = next(name for name, title in TRACKERS.items() if title == key["tracker"])
    folder, line = where(tracker, seed, variant, options), None
    if variant == "alone" and options.learned is not None:
        known = {**key, "seed": seed, "arguments": list(MORE.get(tracker, ()))}
        line = next((dict(one) for one in read(options.learned) if one | known == one), None)
    if line is None or checkpoint(folder) is None:
        line = run(tracker, seed, folder, options.videos, [*MORE.get(tracker, ()), *VARIANTS[variant], *options.more])
    last = checkpoint(folder)
    assert last is not None, "training writes a checkpoint"
    return {**line, "links": links(Tracker.from_checkpoint(last), line["scene"], options.videos)}


@torch.no_grad()
def links(tracker: Tracker, scene: Mapping[str, Any], videos: int) -> dict[str, float]:
    """Measure how well the embeddings of a trained network link objects of unseen clips, independent of its tracks.

    Only detections with an assigned object count.

    Returns:
        Means over clips: how often the nearest embedding in the next frame, and five frames later, belongs to the same
        object (``embedding_1``, ``embedding_5``), and how often the nearest box is (``box_1``, ``box_5``); the cosine
        of embeddings of one object in two frames (``same``) and of two objects (``others``); and the confidence.
    """
    clips = unseen(scene, videos)
    tracker.eval()
    found = [_links(track_clip(tracker.losses(collate([clips[index]]))[1])) for index in range(len(clips))]
    values = {name: [one[name] for one in found if name in one] for name in LINKS}
    return {name: round(mean(some), 4) for name, some in values.items() if some}


def unseen(scene: Mapping[str, Any], videos: int) -> ClipDataset:
    """Return clips of the test videos."""
    known = {name: scene[name] for name in SCENE if name in scene}
    video = SyntheticVideo(videos, split="test", seed=TEST_SEEDS[0], **known)
    return ClipDataset(video, ClipSampling(CLIP, stride=CLIP))


@torch.no_grad()
def draw(options: argparse.Namespace) -> None:
    """Draw ``unitrack_flow_alone.png`` and ``unitrack_flow_with.png``: the same frames, two networks."""
    scene = next(line["scene"] for line in read(options.results) if line["tracker"] == TRACKERS["motip"])
    batch = collate([unseen(scene, options.videos)[DRAWN]])
    for variant, name in (("alone", "alone"), ("UniTrack", "with")):
        last = checkpoint(where("motip", 0, variant, options))
        assert last is not None, "train it first"
        clip = track_clip(Tracker.from_checkpoint(last).losses(batch)[1])
        plot(clip, options.pictures / f"unitrack_flow_{name}.png", gate_confidence=False)


def _links(clip: TrackClip) -> dict[str, float]:
    assert clip.embed is not None, "our trackers provide embeddings"
    known = clip.det_gt >= 0
    directions = torch.nn.functional.normalize(clip.embed, dim=-1)
    centers = (clip.boxes_xyxy[..., :2] + clip.boxes_xyxy[..., 2:]) / 2
    parts = {"confidence": clip.logits[known].sigmoid()}
    for gap in GAPS:
        pairs = known[:, :-gap, :, None] & known[:, gap:, None]
        same = pairs & (clip.det_gt[:, :-gap, :, None] == clip.det_gt[:, gap:, None])
        cosines = directions[:, :-gap] @ directions[:, gap:].transpose(2, 3)
        asked = same.any(3) & (pairs.sum(3) > 1)
        for name, near in (("embedding", cosines), ("box", -torch.cdist(centers[:, :-gap], centers[:, gap:]))):
            nearest = near.where(pairs, -torch.inf).argmax(3, keepdim=True)
            parts[f"{name}_{gap}"] = same.gather(3, nearest)[..., 0][asked].float()
        if gap == 1:
            parts |= {"same": cosines[same], "others": cosines[pairs & ~same]}
    return {name: value.mean().item() for name, value in parts.items() if value.numel()}


if __name__ == "__main__":
    main()
