import json

import pytest
import torch

from benchmarks.unitrack import tables as unitrack_tables
from benchmarks.unitrack import trackers as unitrack_trackers
from unitrack_loss import TrackClip


@pytest.fixture
def command(tmp_path):
    folders = {"results": "results.jsonl", "output": "runs", "alone": "alone"}
    return ["--seed=3", "--processes=1", *(f"--{name}={tmp_path / file}" for name, file in folders.items())]


def lines(tmp_path):
    return [json.loads(one) for one in (tmp_path / "results.jsonl").read_text().splitlines()]


def test_training_with_the_loss(command, tmp_path, capsys):
    command += ["--tracker=motip", "--variant=UniTrack", "--videos=1", "--", "--trainer.max_steps=2"]
    command += ["--trainer.max_epochs=-1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=0"]
    unitrack_trackers.main(command)
    (line,) = lines(tmp_path)
    assert unitrack_trackers.CALLBACK in line["command"]
    assert line["steps"] == 2
    assert {"same", "confidence"} <= line["links"].keys() <= unitrack_tables.LINKS.keys()
    assert all(-1 <= value <= 1 for value in line["links"].values())


def test_runs_differ_in_the_callback_and_are_not_repeated(command, tmp_path, monkeypatch, capsys):
    ran = []
    recipes = {name: unitrack_trackers.recipe(f"{name}_synthetic") for name in unitrack_trackers.TRACKERS}
    known = {"tracker": "MOTIP", "seed": 3, "recipe": recipes["motip"], "arguments": [], "scene": {}, "steps": 2000}
    (tmp_path / "learned.jsonl").write_text(json.dumps(known) + "\n")

    def run(tracker, seed, folder, videos, more):
        ran.append((tracker, seed, folder.name, tuple(more)))
        return {"tracker": unitrack_trackers.TRACKERS[tracker], "seed": seed, "scene": {}, "steps": 1}

    monkeypatch.setattr(unitrack_trackers, "run", run)
    monkeypatch.setattr(unitrack_trackers, "checkpoint", lambda folder: folder)
    monkeypatch.setattr(unitrack_trackers, "links", lambda tracker, scene, videos: {"same": 1.0})
    monkeypatch.setattr(unitrack_trackers.Tracker, "from_checkpoint", lambda path: path)
    for _ in range(2):
        unitrack_trackers.main([*command, f"--learned={tmp_path / 'learned.jsonl'}"])
    with_loss = {name: more for name, more in unitrack_trackers.VARIANTS.items() if more}
    expected = []
    for name in unitrack_trackers.TRACKERS:
        own = unitrack_trackers.MORE.get(name, ())
        if name != "motip":  # learning.py provides this run
            expected.append((name, 3, f"{name}-{recipes[name]}-seed3", own))
        expected += [
            (name, 3, f"{name}-{variant}-{recipes[name]}-seed3".replace(" ", "_"), (*own, *more))
            for variant, more in with_loss.items()
        ]
    assert ran == expected
    done = lines(tmp_path)
    titles = [title for title in unitrack_trackers.TRACKERS.values() for _ in range(1 + len(with_loss))]
    assert [line["tracker"] for line in done] == titles
    position = titles.index("MOTIP")
    assert done[position] == {"variant": "alone", **known, "links": {"same": 1.0}}
    assert [line["recipe"] for line in done] == [
        recipes[name] for name in unitrack_trackers.TRACKERS for _ in range(1 + len(with_loss))
    ]


def test_objects_that_swap_positions_are_linked_by_appearance():
    ids = torch.tensor([[[0, 1, -1]] * 6])
    left, right = [0.0, 0.0, 10.0, 20.0], [50.0, 0.0, 60.0, 20.0]
    boxes = torch.tensor([[[left, right, right], [right, left, left]] * 3])
    embed = torch.tensor([[[[1.0, 0.0], [0.6, 0.8], [1.0, 0.1]]] * 6])
    clip = TrackClip(boxes, torch.zeros(1, 6, 3), ids > -2, ids, boxes, ids, torch.tensor([[480, 640]]), embed)
    expected = {"embedding_1": 1, "embedding_5": 1, "box_1": 0, "box_5": 0, "same": 1, "others": 0.6, "confidence": 0.5}
    assert unitrack_trackers._links(clip) == pytest.approx(expected)


def run(variant, seed, hota, minutes=5.0):
    scores = dict.fromkeys(unitrack_tables.METRICS, 50.0) | {"HOTA": hota}
    return {
        "variant": variant,
        "tracker": "MOTIP",
        "seed": seed,
        "cpu_minutes": minutes,
        "links": dict.fromkeys(unitrack_tables.LINKS, 0.5),
        "test": {"recall": 90.0, "trackers": {"MOTIP": scores, "SORT": scores}},
    }


def test_differences_are_paired_by_seed():
    lines = [run("alone", 0, 40.0), run("alone", 1, 60.0), run("alone", 2, 80.0)]
    lines += [run("with", 1, 61.1), run("with", 0, 41.0), run("with", 2, 80.9)]
    text = unitrack_tables.render_trackers(lines)
    assert "| alone | 3 | 60.0 ± 20.0 | 50.0 ± 0.0 |" in text
    assert "| *with - alone* | 3 | **+1.0** (+0.8 to +1.2; worst +0.9, seed 2) | +0.0 (" in text
    assert "| with | 3 | 50.0 ± 0.0 |" in text  # the second table, of embeddings


def association(name, seed, form, hota):
    test = {f"{data}/{stride}": {"HOTA": hota, "IDSW": 7.0} for data in ("MOT17", "mean") for stride in (1, 3, 5)}
    test["mean/1"] = {"HOTA": 0.0, "IDSW": 0.0}  # with every frame, all cases are easy
    return {"name": name, "seed": seed, "form": form, "test": test}


def test_ablation_relative_to_the_full_loss():
    lines = [association("IoU (ByteTrack)", 0, "", 30.0)]
    for seed in (0, 1):
        for form, more in (("sigmoid", 0), ("softmax", 2)):
            lines.append(association("cross-entropy", seed, form, 40.0 + seed + more))
            lines.append(association("UniTrack", seed, form, 45.0 + seed + more))
            lines.append(association("window 2", seed, form, 44.0 + 2 * seed + more))
    lines.append(association("window 3", 0, "sigmoid", 45.0))  # unfinished
    tables = unitrack_tables.tables([], lines)
    assert "| UniTrack as it is | 2 | 46.5 ± 0.7 | 7.0 ± 0.0 |" in tables["ablation"]
    assert "| *cross-entropy* | 2 | **-5.0** (-5.0 to -5.0; worst -5.0, seed 0) |" in tables["ablation"]
    assert "| *window 2* | 2 | -0.5 (-6.9 to +5.9; worst -1.0, seed 0) |" in tables["ablation"]
    assert "window 3" not in tables["ablation"]
    assert "| *UniTrack - cross-entropy* | 2 | **+5.0** (" in tables["association"]
    assert "| *MOT17, one in 3* | 2 | **+5.0** (" in tables["data sets"]


def test_page_has_the_results():
    text = unitrack_tables.PAGE.read_text(encoding="utf-8")
    shown = unitrack_tables.tables(
        unitrack_tables.read(unitrack_tables.TRACKERS), unitrack_tables.read(unitrack_tables.ASSOCIATION)
    )
    for name, table in shown.items():
        assert table in text, f"{name}: python -m benchmarks.unitrack.trackers --table"


def test_refresh_keeps_the_text(tmp_path):
    page, results = tmp_path / "page.md", tmp_path / "none.jsonl"
    names = list(unitrack_tables.tables([], []))
    page.write_text("".join(f"about {one}\n<!-- {one}: begin -->\nold\n<!-- {one}: end -->\n" for one in names) + "end")
    for _ in range(2):
        unitrack_tables.refresh(page, results, results)
    text = page.read_text()
    assert "old" not in text
    assert [one in text for one in ("about trackers", "about ablation", "end")] == [True] * 3
