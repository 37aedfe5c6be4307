"""Training on the detections to be tracked."""

import builtins
import io

import pytest
import torch
import yaml

from em_kalman import DetectionSequence, EMKalmanTracker, Schedule, adapt, load_model
from em_kalman.adaptation import describe_record
from mot_core.cli import main
from mot_core.data import SyntheticVideo
from mot_core.io import BoxTable, make_scene

SHORT = Schedule(warmup_epochs=1, epochs=1, min_steps=0)


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr("em_kalman.training.Schedule", lambda: SHORT)


def street(seed=1, frames=30):
    scene = make_scene(seed, num_objects=8, num_frames=frames)
    return DetectionSequence("street", scene.detections, range(1, frames + 1), scene.image_size)


def test_same_seed_gives_the_same_model():
    """Training is long enough for the trained model to be the likelier one."""
    schedule, records = Schedule(warmup_epochs=1, epochs=1, min_steps=150), []
    given = [street(frames=60)]
    models = [adapt(given, seed=seed, schedule=schedule, report=records.append).state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    assert not torch.equal(models[0]["dustbin"], models[2]["dustbin"])
    last = [record for record in records if record["stage"] == 3]
    assert all(record["trained"] < record["ready"] for record in last)
    assert describe_record(last[0]) == ""
    ready = EMKalmanTracker().model.detection_probability
    assert torch.equal(models[0]["detection_probability"], ready), "that of the package"


@pytest.mark.parametrize("collapse", [False, True])
def test_ready_model_is_kept_if_it_is_likelier(collapse):
    """After one step of training, or a collapse, the association is that of the package and the noise is learned."""
    schedule = Schedule(warmup_epochs=1, epochs=1, min_steps=0, collapse_above=0.0 if collapse else 0.99)
    records = []
    model, ready = adapt([street()], schedule=schedule, report=records.append), EMKalmanTracker().model
    assert torch.equal(model.dustbin, ready.dustbin)
    assert all(torch.equal(a, b) for a, b in zip(model.network.parameters(), ready.network.parameters(), strict=True))
    motion, default = model.learned_motion(), ready.learned_motion()
    assert motion.r != default.r
    assert motion.q_position > default.q_position == 0
    assert motion.v0 >= default.v0
    record = records[-1]
    assert record["ready"] < record["trained"]
    assert (record["trained"] == float("inf")) == collapse
    assert ("training collapsed" if collapse else f"{record['trained']:.2f} trained") in describe_record(record)


def test_training_uses_strong_detections_only():
    """Other weak detections change the share of objects among them and nothing else."""
    one = street()
    strong = one.table.scores >= 0.6
    table = one.table.select(strong)
    less = DetectionSequence("street", table, one.frames, one.image_size)
    first, second = (adapt([given], schedule=SHORT).state_dict() for given in (one, less))
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert different == ["weak_share"]


def test_scores_that_are_no_probabilities():
    one = street()
    scaled = BoxTable(one.table.frames, one.table.ids, one.table.boxes_xyxy, 10 * one.table.scores)
    given = DetectionSequence("street", scaled, one.frames, one.image_size)
    with pytest.raises(ValueError, match=r"street: expected scores in \[0, 1\].*set min_score and low_score"):
        adapt([given], schedule=SHORT)
    with pytest.raises(ValueError, match=r"set low_score for these"):
        adapt([given], min_score=6, schedule=SHORT)
    adapt([given], min_score=6, low_score=1, schedule=SHORT)


def test_commands_without_ground_truth(tmp_path, capsys, short, monkeypatch):
    """`mot em-kalman adapt` and `mot track --adapt` learn the same model and never open `gt`."""
    for seed in (1, 2):
        make_scene(seed, num_objects=6, num_frames=30).save(tmp_path / "data", f"street-{seed}")
    opened = []
    for module, name in ((builtins, "open"), (io, "open")):
        original = getattr(module, name)

        def record(path, *rest, original=original, **more):
            opened.append(str(path))
            return original(path, *rest, **more)

        monkeypatch.setattr(module, name, record)
    source = [str(tmp_path / "data"), "--benchmark", "generic"]
    assert main(["em-kalman", "adapt", *source, "--output", str(tmp_path / "model.pt")]) == 0
    shown = capsys.readouterr().out
    assert "epoch 1:" in shown
    assert "--tracker em_kalman --checkpoint" in shown
    out = tmp_path / "out"
    assert main(["track", *source, "--tracker", "em_kalman", "--adapt", "--output", str(out)]) == 0
    assert any("det.txt" in path for path in opened)
    assert not [path for path in opened if "gt.txt" in path]
    first, second = (load_model(path).state_dict() for path in (tmp_path / "model.pt", out / "em_kalman.pt"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert yaml.safe_load((out / "run.yaml").read_text())["given"] == {"checkpoint": str(out / "em_kalman.pt")}
    again = ["track", *source, "--tracker", "em_kalman", "--checkpoint", str(tmp_path / "model.pt")]
    assert main([*again, "--output", str(tmp_path / "again")]) == 0
    for name in ("street-1.txt", "street-2.txt"):
        assert (out / name).read_text() == (tmp_path / "again" / name).read_text()
    assert main([*again, "--adapt", "--output", str(tmp_path / "both")]) == 1
    assert "--adapt: expected no --checkpoint" in capsys.readouterr().err
    assert main(["track", *source, "--tracker", "sort", "--adapt", "--output", str(out)]) == 2


def test_seconds_refer_to_the_frame_rate_of_the_sequence(tmp_path):
    make_scene(1, num_objects=8, num_frames=20, frame_rate=10.0).save(tmp_path / "data", "street")
    command = f"track {tmp_path / 'data'} --benchmark generic --tracker em_kalman --output {tmp_path / 'out'}"
    assert main([*command.split(), "--max-seconds", "0.5"]) == 0
    parameters = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())["parameters"]
    assert (parameters["max_seconds"], parameters["frame_rate"]) == (0.5, 10.0)


def test_seconds_refer_to_the_frame_rate_of_a_sequence_with_a_detector(tmp_path, monkeypatch):
    SyntheticVideo(num_videos=1, num_frames=3).save(tmp_path / "data", 0)
    (info,) = (tmp_path / "data").glob("*/seqinfo.ini")
    assert "frameRate=25" in info.read_text()
    info.write_text(info.read_text().replace("frameRate=25", "frameRate=5"))
    (tmp_path / "nothing_found.py").write_text("def find(images):\n    return [[] for _ in images]\n")
    monkeypatch.syspath_prepend(tmp_path)
    command = f"track {tmp_path / 'data'} --benchmark generic --tracker em_kalman --output {tmp_path / 'out'}"
    assert main([*command.split(), "--detector", "nothing_found:find", "--max-seconds", "0.5"]) == 0
    parameters = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())["parameters"]
    assert (parameters["max_seconds"], parameters["frame_rate"]) == (0.5, 5.0)


def test_image_size_of_sequences_without_one(tmp_path, capsys, short):
    folder = make_scene(1, num_objects=8, num_frames=60).save(tmp_path / "data", "street")
    (folder / "seqinfo.ini").unlink()
    command = ["em-kalman", "adapt", str(folder / "det" / "det.txt"), "--output", str(tmp_path / "model.pt")]
    assert main(command) == 1
    assert "image_size" in capsys.readouterr().err
    assert main([*command, "--image-size", "1080", "1920"]) == 0
