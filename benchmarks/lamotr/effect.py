"""Effect of learnable association on the small trackers, on synthetic video with crossings and occlusions.

    python -m benchmarks.lamotr.effect                     run what is missing in the results, two at a time
    python -m benchmarks.lamotr.effect --part association  only the rows of the paper's Table 4
    python -m benchmarks.lamotr.effect --table             only regenerate docs/lamotr_results.md

Every run is ``mot fit --config lamotr_synthetic`` (or ``motr_synthetic``, ``motip_synthetic``) with the arguments of
its row. All rows of a seed start from the same trained weights: a detector that was trained on single frames, a MOTR,
or a MOTIP without the identity loss. They share videos and number of steps. An interrupted run resumes.
"""

from __future__ import annotations

from benchmarks.training.study import Part, Study

MODEL = "--model.init_args"
BATCHES = "--trainer.limit_train_batches"  # of each epoch: 8 of MOTIP, 7 of the others
# Without learned association, the first weights fit all rows alike.
START = (f"{MODEL}.association=iou", "--data.init_args.clip_length=1", f"{BATCHES}=200")
ROWS = (f"{BATCHES}=120",)
PLUGIN = (
    "--trainer.callbacks+=lamotr.lightning.LAMOTRCallback",
    "--trainer.callbacks.sgla={num_heads: 4, num_layers: 2, ffn_dim: 128}",
)
PARTS = {
    # Table 4 of the paper; the single decoder is that of MOTR, with the same detector and update.
    "association": Part(
        "lamotr",
        range(1, 6),
        {
            "single decoder": (f"{MODEL}.association=none",),
            "IoU": (f"{MODEL}.association=iou",),
            "feature": (f"{MODEL}.association=feature",),
            "combination": (f"{MODEL}.association=combination",),
            "SGLA without cue": (f"{MODEL}.sgla.cue=false",),
            "SGLA": (),
        },
        ROWS,
        start=START,
    ),
    # Table 5: which tokens attend to which; those of SGLA attend to all.
    "attention": Part(
        "lamotr",
        range(1, 3),
        {
            "SGLA": (),
            "objects attend to tracks": (f"{MODEL}.sgla.attention=obj_queries",),
            "tracks attend to objects": (f"{MODEL}.sgla.attention=tck_queries",),
        },
        ROWS,
        start=START,
    ),
    # Table 6: update of the queries of tracks; that of SGLA is a weighted sum.
    "update": Part(
        "lamotr",
        range(1, 3),
        {
            "SGLA": (),
            "TAN (MOTR)": (f"{MODEL}.update=tan",),
            "TIM (MeMOTR)": (f"{MODEL}.update=tim",),
        },
        ROWS,
        start=START,
    ),
    "motr": Part(
        "motr",
        range(1, 4),
        {"MOTR": (), "MOTR with SGLA": PLUGIN},
        (f"{BATCHES}=60",),
        start=(f"{BATCHES}=200",),
    ),
    "motip": Part(
        "motip",
        range(1, 4),
        {"MOTIP": (), "MOTIP with SGLA": PLUGIN},
        (f"{BATCHES}=90",),
        start=(f"{BATCHES}=150", f"{MODEL}.id_weight=0"),
    ),
}


STUDY = Study("lamotr", __doc__, PARTS)
main, tables = STUDY.main, STUDY.tables

if __name__ == "__main__":
    main()
