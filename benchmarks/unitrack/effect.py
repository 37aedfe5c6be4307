"""Effect of the UniTrack loss on the small trackers, on synthetic video of figures that look nearly alike.

    python -m benchmarks.unitrack.effect                run what is missing in the results, two at a time
    python -m benchmarks.unitrack.effect --part motip   only MOTIP
    python -m benchmarks.unitrack.effect --table        only regenerate docs/unitrack_results.md

Scene, trained weights to start from and number of steps are those of ``benchmarks.fdta.effect`` with all its adapters
off, whose weights are used if ``--output`` has them. An interrupted run resumes.
"""

from __future__ import annotations

from benchmarks.fdta.effect import CALLBACK, MOTIP, MOTIP_ROWS, MOTIP_START, only
from benchmarks.fdta.effect import PARTS as FDTA
from benchmarks.training.study import Part, Study

# Rows train for 720 steps: a shorter warm-up than the 500 steps for training from random weights.
UNITRACK = (*only(), f"{CALLBACK}+=unitrack_loss.lightning.UniTrackCallback", f"{CALLBACK}.warmup_steps=100")
PARTS = {
    "motip": Part(
        "motip",
        range(3, 8),
        {
            "alone": only(),
            "UniTrack": UNITRACK,
            "UniTrack, weight 1": (*UNITRACK, f"{CALLBACK}.weight=1"),
            "paper's terms": (*UNITRACK, f"{CALLBACK}.preset=paper", f"{CALLBACK}.weight=0.1"),
        },
        MOTIP_ROWS,
        MOTIP,
        MOTIP_START,
    ),
    "motr": Part(
        "motr",
        range(3, 6),
        {"alone": only(), "UniTrack": UNITRACK},
        FDTA["motr"].shared,
        FDTA["motr"].config,
        FDTA["motr"].start,
    ),
}


STUDY = Study("unitrack", __doc__, PARTS)
main, tables = STUDY.main, STUDY.tables

if __name__ == "__main__":
    main()
