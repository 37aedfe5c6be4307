"""Scores of a trained tracker on unseen video, compared with trackers without appearance on its own detections."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from mot_core.association import ByteTrack, OCSort, OnlineTracker, Sort
from mot_core.boxes import cxcywh_to_xyxy, denormalize_boxes, normalize_boxes, pairwise_iou
from mot_core.evaluation import Scores, TrackingMetrics
from mot_core.nn import DenseOutput, DetectorOutput
from mot_core.structures import ClipBatch, FrameOutput
from mot_core.trackers import Tracker
from mot_core.trackers.compaction import suppress

DETECTION = 0.4  # score from which a detection counts
SIMILAR = 0.9  # cosine similarity of embeddings above which FDTA counts objects as hard to distinguish
METRICS = ("HOTA", "DetA", "AssA", "IDF1", "MOTA", "IDSW")
# A detector trained for minutes has lower scores than the default thresholds expect: all trackers use detections
# from 0.4 on and start tracks at 0.5.
BASELINES: dict[str, Callable[[], OnlineTracker]] = {
    "SORT": lambda: Sort(score_threshold=DETECTION),
    "ByteTrack": lambda: ByteTrack(track_threshold=DETECTION, birth_threshold=0.5),
    "OC-SORT": lambda: OCSort(score_threshold=DETECTION),
}


def evaluate(tracker: Tracker, frames: Iterable[ClipBatch], name: str) -> dict[str, Any]:
    """Track frames in their order and score everything on them.

    Returns:
        ``recall`` and ``precision`` of the detections at an IoU of 0.5 in percent, ``recall_alone`` of the detector on
        single frames (the same if tracks are not queries), ``frames``, ``objects``, ``similar_objects`` (the share of
        pairs of different detected objects in a frame whose embeddings, after all plug-ins, have a cosine similarity
        above 0.9, in percent) and ``similarity`` (the mean of all pairs), and under ``trackers`` the metrics of
        ``name`` and of every baseline.
    """
    outputs: list[DetectorOutput | DenseOutput] = []
    detect = tracker.detect

    def listen(*arguments: Any) -> Any:
        result = detect(*arguments)
        outputs.append(result[0])
        return result

    refined: list[FrameOutput] = []
    refine = tracker.plugins.on_embeddings

    def listen_after_plugins(*arguments: Any) -> FrameOutput:
        refined.append(refine(*arguments))
        return refined[-1]

    metrics = {one: TrackingMetrics() for one in (name, *BASELINES)}
    detections, alone, sequence, count = TrackingMetrics(), TrackingMetrics(), "", 0
    similarities: list[Tensor] = []
    baselines: dict[str, OnlineTracker] = {}
    tracker.eval()
    tracker.detect = listen  # capture its detections, which it does not report
    tracker.plugins.on_embeddings = listen_after_plugins
    try:
        for batch in frames:
            count += 1
            if batch.sequences[0] != sequence:
                sequence = batch.sequences[0]
                baselines = {one: make() for one, make in BASELINES.items()}
            truth = _truth(batch)
            tracks = tracker.track(batch)
            metrics[name].update(*truth[0], tracks.ids, tracks.boxes_xyxy, **truth[1])
            output = outputs.pop()
            boxes, scores = _detections(output, tracker, batch)
            _update(detections, boxes[scores > DETECTION], truth)
            while refined:
                similarities.append(_similarities(refined.pop(), batch, truth[1]["gt_boxes_xyxy"]))
            if isinstance(output, DetectorOutput) and "track_queries" in tracker.capabilities:
                with torch.no_grad():
                    output = tracker.detector(batch.images[:, 0], batch.padding)
            single, confidence = _detections(output, tracker, batch)
            _update(alone, single[confidence > DETECTION], truth)
            for one, baseline in baselines.items():
                tracks = baseline.update(boxes, scores)
                metrics[one].update(*truth[0], tracks.ids, tracks.boxes_xyxy, **truth[1])
    finally:
        tracker.detect, tracker.plugins.on_embeddings = detect, refine
    found = Scores.combine(detections.per_sequence().values())
    found_alone = Scores.combine(alone.per_sequence().values())
    pairs = torch.cat([torch.zeros(0), *similarities])
    return {
        "frames": count,
        "objects": found["GT_Dets"],
        "recall": found["CLR_Re"],
        "precision": found["CLR_Pr"],
        "recall_alone": found_alone["CLR_Re"],
        "similar_objects": 100 * (pairs > SIMILAR).sum().item() / max(1, len(pairs)),
        "similarity": pairs.sum().item() / max(1, len(pairs)),
        "trackers": {
            one: {key: values[key].item() for key in METRICS}
            for one, values in ((one, metric.compute()) for one, metric in metrics.items())
        },
    }


def _similarities(frame: FrameOutput, batch: ClipBatch, objects_xyxy: Tensor) -> Tensor:
    """Return the cosine similarities of all pairs of objects, each with the detection that overlaps it most."""
    found = frame.valid[0] & (frame.logits[0].sigmoid().amax(-1) > DETECTION)
    if frame.embeddings is None or not found.any() or not len(objects_xyxy):
        return torch.zeros(0)
    overlap, best = pairwise_iou(objects_xyxy, _pixels(frame.boxes_cxcywh[0, found], batch)).max(1)
    directions = torch.nn.functional.normalize(frame.embeddings[0, found][best[overlap >= 0.5].unique()], dim=-1)
    rows, columns = torch.triu_indices(len(directions), len(directions), 1)
    return (directions[rows] * directions[columns]).sum(-1)


def _detections(output: DetectorOutput | DenseOutput, tracker: Tracker, batch: ClipBatch) -> tuple[Tensor, Tensor]:
    """Return corners in pixels of the frame ``(N, 4)`` and scores ``(N,)``."""
    if isinstance(output, DetectorOutput):
        # Where learned queries detect all objects, tracks would be second detections of the same objects.
        rows = slice(tracker.detector.num_queries if tracker.options["object_supervision"] == "all" else None)
        boxes, logits = output.boxes_cxcywh[-1, 0, rows], output.logits[-1, 0, rows]
    else:
        cells = suppress(output, tracker.score_threshold, nms_threshold=tracker.nms_threshold)
        boxes, logits = normalize_boxes(output.boxes_cxcywh[0, cells], batch.image_size[0]), output.logits[0, cells]
    return _pixels(boxes, batch), logits.sigmoid().amax(-1)


def _update(metrics: TrackingMetrics, boxes: Tensor, truth: tuple[tuple[str, int], dict[str, Tensor]]) -> None:
    """Count boxes without identities."""
    metrics.update(*truth[0], torch.arange(len(boxes)), boxes, **truth[1])


def _truth(batch: ClipBatch) -> tuple[tuple[str, int], dict[str, Tensor]]:
    """Return the frame and its ground truth."""
    assert batch.targets is not None, "unseen video has ground truth"
    truth = batch.targets[0]
    boxes, valid, ignore = _pixels(truth.boxes_cxcywh[0], batch), truth.valid[0], truth.extras["ignore"][0]
    given = {"gt_ids": truth.ids[0][valid], "gt_boxes_xyxy": boxes[valid], "ignore_boxes_xyxy": boxes[ignore]}
    return (batch.sequences[0], int(batch.times[0, 0])), given


def _pixels(boxes_cxcywh: Tensor, batch: ClipBatch) -> Tensor:
    return denormalize_boxes(cxcywh_to_xyxy(boxes_cxcywh), batch.original_size[0])
