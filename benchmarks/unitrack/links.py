"""How well the embeddings of a trained network link objects of unseen clips, independent of its tracks."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean
from typing import Any

import torch

from benchmarks.training.learning import SCENE
from benchmarks.unitrack.tables import LINKS
from mot_core.data import ClipDataset, ClipSampling, SyntheticVideo, collate
from mot_core.trackers import Tracker
from unitrack_loss import TrackClip
from unitrack_loss.track_clip import track_clip

CLIP = 6  # frames per clip for measuring links
GAPS = (1, CLIP - 1)


@torch.no_grad()
def links(tracker: Tracker, scene: Mapping[str, Any], videos: int, seed: int) -> dict[str, float]:
    """Measure the links of the embeddings in all clips of the test videos of a seed.

    Only detections with an assigned object count.

    Returns:
        Means over clips: how often the nearest embedding in the next frame, and five frames later, belongs to the same
        object (``embedding_1``, ``embedding_5``), and how often the nearest box is (``box_1``, ``box_5``); the cosine
        of embeddings of one object in two frames (``same``) and of two objects (``others``); and the confidence.
    """
    clips = unseen(scene, videos, seed)
    tracker.eval()
    found = [_links(track_clip(tracker.losses(collate([clips[index]]))[1])) for index in range(len(clips))]
    values = {name: [one[name] for one in found if name in one] for name in LINKS}
    return {name: round(mean(some), 4) for name, some in values.items() if some}


def unseen(scene: Mapping[str, Any], videos: int, seed: int) -> ClipDataset:
    """Return clips of the test videos."""
    known = {name: scene[name] for name in SCENE if name in scene}
    video = SyntheticVideo(videos, split="test", seed=seed, **known)
    return ClipDataset(video, ClipSampling(CLIP, stride=CLIP))


def _links(clip: TrackClip) -> dict[str, float]:
    assert clip.embed is not None, "our trackers provide embeddings"
    if not clip.valid.any():
        return {}
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
