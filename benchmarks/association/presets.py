"""Scores of all presets of all trackers on the real sequences in MOT_DATA.

The preset ``official`` has the parameters of the official implementations. Writes ``results/association/presets.json``
and the table in ``docs/parity.md``, in about three minutes on one core:
``MOT_DATA=... python -m benchmarks.association.presets``
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from pathlib import Path

from benchmarks.provenance import RESULTS_FOLDER, ROOT, SOURCES, provenance
from mot_core.association import ByteTrack, OCSort, Sort
from mot_core.evaluation import evaluate
from mot_core.io import ResultWriter, find_sequences

RESULTS = RESULTS_FOLDER / "association/presets.json"
PAGE = ROOT / "docs" / "parity.md"
INPUTS = {
    "MOT17": ("MOT17/train", "yolox", None),
    "MOT17 half-val": ("MOT17/train", "yolox", "half-val"),
    "DanceTrack": ("DanceTrack/val", "yolox", None),
    "MOT15": ("MOT15/train", "sort,det", None),
}
RUNS = {
    "sort": [(Sort, "official"), (Sort, "official:maxage30"), (Sort, "default")],
    "bytetrack": [(ByteTrack, "official"), (ByteTrack, "default")],
    "ocsort": [(OCSort, "official"), (OCSort, "default"), (OCSort, "official:byte")],
}
METRICS = ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW")
# The three MOT15 sequences without ACF have the SORT detections in det.txt; all scores then lie in [0, 1].


def measure(data: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for label, (folder, detections, split) in INPUTS.items():
        sequences = find_sequences(data / folder)
        if split:
            sequences = [sequence.half_val() for sequence in sequences]
        tables = {sequence.name: sequence.detections(detections) for sequence in sequences}
        for name, presets in RUNS.items():
            for tracker_class, preset in presets:
                with tempfile.TemporaryDirectory() as output:
                    for sequence in sequences:
                        tracker = tracker_class.preset(preset, benchmark=sequence.benchmark, sequence=sequence.name)
                        table = tables[sequence.name]
                        with ResultWriter(Path(output) / f"{sequence.name}.txt") as writer:
                            for number in sequence.frame_numbers():
                                at = table.frame(number)
                                writer.write(number, tracker.update(table.boxes_xyxy[at], table.scores[at]))
                    scores = evaluate(Path(output), data / folder, split=split).combined
                row = {"input": label, "tracker": name, "preset": preset}
                row |= {metric: scores[metric] for metric in METRICS}
                print(row, flush=True)
                rows.append(row)
    return rows


def table_of(rows: list[dict[str, object]]) -> str:
    lines = [
        "| detections | tracker | preset | HOTA | DetA | AssA | MOTA | IDF1 | IDSW |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        numbers = " | ".join(f"{row[metric]:.2f}" for metric in METRICS[:-1])
        lines.append(f"| {row['input']} | {row['tracker']} | {row['preset']} | {numbers} | {row['IDSW']:.0f} |")
    return "\n".join(lines)


def main() -> None:
    if "--table" in sys.argv:
        report = json.loads(RESULTS.read_text())
    else:
        data = os.environ.get("MOT_DATA")
        if not data:
            sys.exit("MOT_DATA is not set; set it to the folder of real sequences (see CONTRIBUTING.md)")
        report = {**provenance(f"{SOURCES}/association"), "rows": measure(Path(data))}
        RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    page = PAGE.read_text()
    block = f"<!-- presets -->\n{table_of(report['rows'])}\n<!-- /presets -->"
    PAGE.write_text(re.sub(r"<!-- presets -->.*<!-- /presets -->", lambda _: block, page, flags=re.DOTALL))


if __name__ == "__main__":
    main()
