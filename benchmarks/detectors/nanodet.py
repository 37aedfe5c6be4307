"""Tracks of NanoDet-g and ByteTrack on a raw video, scored on PETS09-S2L1, and parity of the network.

    python -m benchmarks.detectors.fetch --folder FOLDER
    MOT_DATA=... python -m benchmarks.detectors.nanodet --folder FOLDER

The video ``vtest.avi`` has the frames of PETS09-S2L1 at 768x576. ``mot track`` runs on it with the defaults of
ByteTrack; no threshold is chosen on this video. The same tracker on the published detections of Faster R-CNN, those of
SORT, is the comparison. The network is compared with TensorFlow.js in node. Takes two minutes of one core. Writes
``results/detectors/nanodet.json`` and the table of docs/tracking.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.pages import fill, markdown
from benchmarks.provenance import RESULTS_FOLDER, ROOT, provenance
from mot_core.boxes import pairwise_iou
from mot_core.cli import main as mot
from mot_core.detectors.nanodet import load_nanodet
from mot_core.evaluation import score_sequence
from mot_core.io import BoxTable, find_sequences, read_mot
from mot_core.io import Sequence as VideoSequence
from mot_core.nn.nanodet import BINS, NUM_CLASSES, NanoDet

RESULTS = RESULTS_FOLDER / "detectors" / "nanodet.json"
PAGE = ROOT / "docs" / "tracking.md"
SEQUENCE = "PETS09-S2L1"
VIDEO_WIDTH = 768
SHOWN = ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW")
MEASURED = tuple(f"packages/mot-core/src/mot_core/{name}" for name in ("detectors", "nn/nanodet.py", "association"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="folder of benchmarks.detectors.fetch")
    parser.add_argument("--data", type=Path, default=os.environ.get("MOT_DATA"), help="data pack; default: $MOT_DATA")
    options = parser.parse_args(arguments)
    if options.data is None:
        parser.error("--data: expected the folder of the data pack, got none; pass it, or set MOT_DATA")
    torch.set_num_threads(1)
    folder: Path = options.folder
    report = {**provenance(*MEASURED), "parity": parity(folder), **scores(folder, Path(options.data))}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    fill(PAGE, {"nanodet": table(report)})
    print(table(report))


def formula_input() -> torch.Tensor:
    """Return the input of reference.mjs, ``(1, 3, 416, 416)``."""
    index = np.arange(3 * 416 * 416, dtype=np.float64)
    return torch.from_numpy((np.sin(index * 0.01) + np.cos(index * 0.0007)).astype(np.float32)).view(1, 3, 416, 416)


def parity(folder: Path) -> dict[str, float]:
    """Return the largest differences between our network and TensorFlow.js in scores and in distances (strides)."""
    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary) / "reference.bin"
        subprocess.run(["node", ROOT / "benchmarks/detectors/reference.mjs", folder, output], check=True)
        reference = np.fromfile(output, "<f4")
    return differences(load_nanodet(folder / "nanodet.json").eval(), reference)


@torch.no_grad()
def differences(network: NanoDet, reference: np.ndarray) -> dict[str, float]:
    """Compare the outputs of a network with those in the file of reference.mjs."""
    logits, distances = network(formula_input())
    cells = logits.shape[1]
    shares = torch.from_numpy(reference[cells * NUM_CLASSES :]).view(cells, 4, BINS).softmax(-1)
    theirs = torch.from_numpy(reference[: cells * NUM_CLASSES]).view(cells, NUM_CLASSES)
    mean = shares @ torch.arange(BINS, dtype=torch.float32)
    return {
        "scores": float((logits[0].sigmoid() - theirs).abs().max()),
        "distances": float((distances[0] - mean).abs().max()),
    }


def scores(folder: Path, data: Path) -> dict[str, Any]:
    """Track the video and the published detections, and score both."""
    (sequence,) = find_sequences(data / "MOT15" / "train" / SEQUENCE, benchmark="MOT15")
    assert sequence.image_size is not None, "its seqinfo.ini has it"
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        ours = [
            "track",
            folder / "vtest.avi",
            "--detector",
            f"nanodet:{folder / 'nanodet.json'}",
            "--classes",
            "person",
        ]
        if mot([*map(str, ours), "--output", str(out / "ours")]):
            raise ValueError("mot track failed, see above")
        theirs = ["track", sequence.path, "--tracker", "bytetrack", "--detections", "sort", "--output", out / "theirs"]
        if mot([*map(str, theirs)]):
            raise ValueError("mot track failed, see above")
        scale = sequence.image_size[1] / VIDEO_WIDTH
        return {
            "AP50": average_precision(scaled(read_mot(out / "ours/det/vtest.txt", kind="detections"), scale), sequence),
            "scores": {
                "NanoDet-g": score(scaled(read_mot(out / "ours/vtest.txt", kind="results"), scale), sequence),
                "Faster R-CNN, published with SORT": score(
                    read_mot(out / "theirs" / f"{SEQUENCE}.txt", kind="results"), sequence
                ),
            },
        }


def scaled(table: BoxTable, scale: float) -> BoxTable:
    """Return a table with boxes of another image size."""
    return BoxTable(table.frames, table.ids, table.boxes_xyxy * scale, table.scores)


def score(results: BoxTable, sequence: VideoSequence) -> dict[str, float]:
    """Return the scores of a result by the rules of MOT15."""
    found = score_sequence(sequence.ground_truth(), results, sequence.benchmark, sequence.frame_numbers())
    (values,) = found.values()
    return {name: round(float(values[name]), 2) for name in SHOWN}


def average_precision(detections: BoxTable, sequence: VideoSequence) -> float:
    """Return the area under the interpolated curve of precision and recall at an IoU of 0.5, over all frames."""
    truth = sequence.ground_truth()
    hits: list[tuple[float, bool]] = []
    for frame in sequence.frame_numbers():
        rows, wanted = detections.frame(frame), truth.boxes_xyxy[truth.frame(frame)]
        boxes, found = detections.boxes_xyxy[rows], detections.scores[rows]
        free = np.ones(len(wanted), bool)
        overlaps = pairwise_iou(boxes, wanted)
        for row in np.argsort(-found):
            best = np.where(free, overlaps[row], -1)
            hit = bool(len(best)) and bool(best.max() >= 0.5)
            if hit:
                free[best.argmax()] = False
            hits.append((float(found[row]), hit))
    right = np.cumsum([hit for _, hit in sorted(hits, key=lambda one: -one[0])])
    precision = np.maximum.accumulate((right / np.arange(1, len(right) + 1))[::-1])[::-1]
    return float(np.sum(np.diff(right / len(truth), prepend=0) * precision))


def table(report: Mapping[str, Any]) -> str:
    """Return the scores as Markdown."""
    rows = [
        [name, *(str(round(row[column])) if column == "IDSW" else f"{row[column]:.1f}" for column in SHOWN)]
        for name, row in report["scores"].items()
    ]
    return markdown(["Detections of PETS09-S2L1, tracked by ByteTrack", *SHOWN], rows)


if __name__ == "__main__":
    main()
