"""Effect of the FDTA adapters on the small trackers, on synthetic video of figures that look nearly alike.

    python -m benchmarks.fdta.effect                   run what is missing in the results, two at a time
    python -m benchmarks.fdta.effect --part adapters   only the eight rows of the paper's ablation, on MOTIP
    python -m benchmarks.fdta.effect --table           only regenerate docs/fdta_results.md

Every run is ``mot fit --config fdta_motip_synthetic`` or ``fdta_motr_synthetic`` with the arguments of its row, on the
harder scene below. All rows of a seed start from the same trained weights, as adapters do in practice: a MOTIP whose
detector was trained on the scene without the identity loss, or a whole MOTR. They share videos and number of steps.
An interrupted run resumes.
"""

from __future__ import annotations

from benchmarks.fdta.placement import PLACES, measure_placed
from benchmarks.paired import Get
from benchmarks.training.study import Part, Study

# Figures of one video share their shape, and colors, patterns and sizes span a fifth of the usual range.
SCENE = ("--data.init_args.likeness=0.8",)
BATCHES = "--trainer.limit_train_batches"  # of each epoch: 8 of MOTIP, 7 of MOTR
CALLBACK = "--trainer.callbacks"
ALL = ("spatial", "temporal", "identity")
SIMILAR: dict[str, Get] = {
    "pairs above 0.9 (%)": lambda line: line["test"]["similar_objects"],
    "similarity": lambda line: 100 * line["test"]["similarity"],
}


def only(*adapters: str) -> tuple[str, ...]:
    """Return the arguments that switch all other adapters off."""
    unused = [name for name in ALL if name not in adapters]
    return tuple(f"{CALLBACK}.use_{name}=false" for name in unused)


def with_setting(adapter: str, setting: str, *adapters: str) -> tuple[str, ...]:
    """Return the arguments for some adapters, one of them with another setting, for example "quality=giou"."""
    return (*only(*(adapters or (adapter,))), f"{CALLBACK}.{adapter}.{setting}")


# The weight of the paper. The config has less, for training from random weights, which has to learn detection first.
WEIGHT = f"{CALLBACK}.identity_weight=1"
MOTIP = "fdta_motip_synthetic"
MOTIP_START = (*only(), *SCENE, f"{BATCHES}=150", "--model.init_args.id_weight=0")
MOTIP_ROWS = (*SCENE, f"{BATCHES}=90", WEIGHT)
PARTS = {
    "adapters": Part(
        "motip",
        range(3, 8),
        {
            "none": only(),
            "SA": only("spatial"),
            "TA": only("temporal"),
            "IA": only("identity"),
            "SA + TA": only("spatial", "temporal"),
            "SA + IA": only("spatial", "identity"),
            "TA + IA": only("temporal", "identity"),
            "SA + TA + IA": only(*ALL),
        },
        MOTIP_ROWS,
        MOTIP,
        MOTIP_START,
    ),
    "choices": Part(
        "motip",
        range(4, 5),
        {
            "none": only(),
            "IA": only("identity"),
            "IA, GIoU for IoU": with_setting("identity", "quality=giou"),
            "IA with the projection of the paper": with_setting("identity", "layers=2"),
            "IA, weight 0.3": (*only("identity"), f"{CALLBACK}.identity_weight=0.3"),
            "IA without overlap": (
                *with_setting("identity", "weighting=none"),
                f"{CALLBACK}.identity.min_quality=0",
            ),
            "TA": only("temporal"),
            "TA, zeros for the mask": with_setting("temporal", "mask_missing=false"),
            "SA + TA + IA": only(*ALL),
            "SA + TA + IA, foreground weight 1": with_setting("spatial", "foreground_weight=1", *ALL),
            "SA + TA + IA without gates": (
                *with_setting("spatial", "residual=postnorm", *ALL),
                f"{CALLBACK}.temporal.residual=replace",
            ),
            "SA + TA + IA, depth weight 1": (*only(*ALL), f"{CALLBACK}.depth_weight=1"),
        },
        MOTIP_ROWS,
        MOTIP,
        MOTIP_START,
    ),
    "placement": Part(
        "motip",
        range(4, 5),
        {"none": only(), "SA": only("spatial"), **dict.fromkeys(PLACES, only("spatial"))},
        MOTIP_ROWS,
        MOTIP,
        MOTIP_START,
        measure_placed,
    ),
    "motr": Part(
        "motr",
        range(3, 6),
        {"none": only(), "TA": only("temporal"), "IA": only("identity"), "TA + IA": only("temporal", "identity")},
        (*SCENE, f"{BATCHES}=60", WEIGHT),
        "fdta_motr_synthetic",
        (*only(), *SCENE, f"{BATCHES}=200"),
    ),
}


STUDY = Study("fdta", __doc__, PARTS, SIMILAR)
main, tables = STUDY.main, STUDY.tables

if __name__ == "__main__":
    main()
