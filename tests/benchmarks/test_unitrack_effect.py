import json

import pytest
import torch

from benchmarks.fdta import effect as fdta
from benchmarks.unitrack import effect, identity_half, links
from benchmarks.unitrack import tables as unitrack_tables
from unitrack_loss import TrackClip


def test_training_with_and_without_the_loss(tmp_path, monkeypatch, capsys):
    results = tmp_path / "results.jsonl"
    command = ["--seeds=3", "--start=knowing", "--variant", "alone", "UniTrack", "--steps=2", "--videos=1"]
    command += ["--processes=1", f"--results={results}", f"--output={tmp_path}"]
    monkeypatch.setattr(identity_half, "KNOWING_STEPS", 2)
    for _ in range(2):
        identity_half.main(command)
    alone, with_loss = (json.loads(one) for one in results.read_text().splitlines())
    assert (alone["settings"], with_loss["settings"]) == (None, {"weight": 1.0})
    assert alone["test"]["similarity"] != with_loss["test"]["similarity"]
    for line in (alone, with_loss):
        assert line["links"].keys() == unitrack_tables.LINKS.keys()
        assert 80 < line["test"]["recall"] < 100  # a tenth of the boxes is missing
    assert "| alone | 1 |" in unitrack_tables.render_identity_half([alone, with_loss])
    assert "| 2 | 8 | alone | 1 |" in unitrack_tables.render_efficiency([alone, with_loss])


def test_rows_of_the_trackers_start_from_equal_weights():
    for part in effect.PARTS.values():
        rows = part.arguments
        assert {more[: len(part.shared)] for more in rows.values()} == {tuple(part.shared)}
        assert all(one.startswith("--trainer.callbacks") for more in rows.values() for one in more[len(part.shared) :])
    assert effect.PARTS["motip"].start == fdta.PARTS["adapters"].start


def test_objects_that_swap_positions_are_linked_by_appearance():
    ids = torch.tensor([[[0, 1, -1]] * 6])
    left, right = [0.0, 0.0, 10.0, 20.0], [50.0, 0.0, 60.0, 20.0]
    boxes = torch.tensor([[[left, right, right], [right, left, left]] * 3])
    embed = torch.tensor([[[[1.0, 0.0], [0.6, 0.8], [1.0, 0.1]]] * 6])
    clip = TrackClip(boxes, torch.zeros(1, 6, 3), ids > -2, ids, boxes, ids, torch.tensor([[480, 640]]), embed)
    expected = {"embedding_1": 1, "embedding_5": 1, "box_1": 0, "box_5": 0, "same": 1, "others": 0.6, "confidence": 0.5}
    assert links._links(clip) == pytest.approx(expected)


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
    text = unitrack_tables.render_identity_half(lines)
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
        unitrack_tables.read(unitrack_tables.IDENTITY_HALF), unitrack_tables.read(unitrack_tables.ASSOCIATION)
    )
    for name, table in shown.items():
        assert table in text, f"{name}: python -m benchmarks.unitrack.identity_half --table"


def test_refresh_keeps_the_text(tmp_path):
    page, results = tmp_path / "page.md", tmp_path / "none.jsonl"
    names = list(unitrack_tables.tables([], []))
    page.write_text("".join(f"about {one}\n<!-- {one}: begin -->\nold\n<!-- {one}: end -->\n" for one in names) + "end")
    for _ in range(2):
        unitrack_tables.refresh(page, results, results)
    text = page.read_text()
    assert "old" not in text
    assert [one in text for one in ("about identity half", "about ablation", "end")] == [True] * 3
