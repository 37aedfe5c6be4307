"""Effect of the FDTA adapters on the small trackers, on synthetic video of figures that look nearly alike.

    python -m benchmarks.fdta.effect                   run what is missing in the results, two at a time
    python -m benchmarks.fdta.effect --part adapters   only the eight rows of the paper's ablation, on MOTIP
    python -m benchmarks.fdta.effect --table           only regenerate docs/fdta_results.md

Every run is ``mot fit --config fdta_motip_synthetic`` or ``fdta_motr_synthetic`` with the arguments of its row and of
the harder scene below, for half the steps of the config; runs of a seed share weights, videos and number of steps. An
interrupted run resumes.
"""

from __future__ import annotations

from benchmarks.paired import Get
from benchmarks.training.study import Part, Study

# Figures of one video share their shape, and colors, patterns and sizes span a fifth of the usual range.
SCENE = ("--data.init_args.likeness=0.8",)
HALF = {"motip": ("--trainer.limit_train_batches=120",), "motr": ("--trainer.limit_train_batches=200",)}
CALLBACK = "--trainer.callbacks"
ALL = ("spatial", "temporal", "identity")
SIMILAR: dict[str, Get] = {"pairs above 0.9 (%)": lambda line: line["test"]["similar"]}


def only(*adapters: str) -> tuple[str, ...]:
    """Return the arguments that switch all other adapters off."""
    unused = [name for name in ALL if name not in adapters]
    return tuple(f"{CALLBACK}.use_{name}=false" for name in unused)


def with_setting(adapter: str, setting: str, *adapters: str) -> tuple[str, ...]:
    """Return the arguments for some adapters, one of them with another setting, for example "quality=giou"."""
    return (*only(*(adapters or (adapter,))), f"{CALLBACK}.{adapter}.{setting}")


MOTIP = "fdta_motip_synthetic"
PARTS = {
    "adapters": Part(
        "motip",
        range(1, 6),
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
        (*SCENE, *HALF["motip"]),
        MOTIP,
    ),
    "longer": Part("motip", range(1, 4), {"none": only(), "SA + TA + IA": only(*ALL)}, SCENE, MOTIP),
    "choices": Part(
        "motip",
        range(1, 2),
        {
            "none": only(),
            "IA": only("identity"),
            "IA, GIoU for IoU": with_setting("identity", "quality=giou"),
            "IA without projection": with_setting("identity", "layers=0"),
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
            "SA + TA + IA, weights 1": (
                *only(*ALL),
                f"{CALLBACK}.depth_weight=1",
                f"{CALLBACK}.identity_weight=1",
            ),
        },
        (*SCENE, *HALF["motip"]),
        MOTIP,
    ),
    "motr": Part(
        "motr",
        range(1, 4),
        {"none": only(), "TA": only("temporal"), "IA": only("identity"), "TA + IA": only("temporal", "identity")},
        (*SCENE, *HALF["motr"]),
        "fdta_motr_synthetic",
    ),
}


STUDY = Study("fdta", __doc__, PARTS, SIMILAR)
main, tables = STUDY.main, STUDY.tables

if __name__ == "__main__":
    main()
