"""Effect of the UniTrack loss on the small trackers, on synthetic video of figures that look nearly alike.

    python -m benchmarks.unitrack.effect                run what is missing in the results, two at a time
    python -m benchmarks.unitrack.effect --part random  only MOTIP from random weights
    python -m benchmarks.unitrack.effect --table        only regenerate docs/unitrack_results.md

Scene, trained weights to start from and number of steps are those of ``benchmarks.fdta.effect`` with all its adapters
off, whose weights are used if ``--output`` has them. From random weights, scene and steps are those of
``benchmarks.training.learning``. An interrupted run resumes.
"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.fdta.effect import CALLBACK, only
from benchmarks.fdta.effect import PARTS as FDTA
from benchmarks.training.study import Part, Study

UNITRACK = (*only(), f"{CALLBACK}+=unitrack_loss.lightning.UniTrackCallback")
ROWS = {
    "alone": only(),
    "UniTrack": (*UNITRACK, f"{CALLBACK}.weight=1"),  # for a trained detector
    "UniTrack, rivals of the own frame": (*UNITRACK, f"{CALLBACK}.weight=1", f"{CALLBACK}.rivals=own_frame"),
    "UniTrack, default weight": UNITRACK,
    "paper's terms": (*UNITRACK, f"{CALLBACK}.preset=paper"),
}
PARTS = {
    "motip": replace(FDTA["adapters"], rows=ROWS),
    "random": Part("motip", range(10), {"alone": (), "UniTrack": UNITRACK[-1:]}),
    "motr": replace(FDTA["motr"], rows={name: ROWS[name] for name in ("alone", "UniTrack")}),
}


STUDY = Study("unitrack", __doc__, PARTS)
main, tables = STUDY.main, STUDY.tables

if __name__ == "__main__":
    main()
