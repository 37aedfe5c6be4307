"""What is wrong with the data is told by `mot fit` in one sentence; what only looks wrong trains."""

import pytest
import yaml

from mot_core.cli import main
from mot_core.data import SyntheticVideo

CONFIG = {
    "model": {
        "class_path": "MOTIP",
        "init_args": {
            "detector": {
                "backbone": "small", "num_queries": 6, "embed_dim": 32, "num_heads": 4, "ffn_dim": 32, "num_levels": 3,
                "num_encoder_layers": 1, "num_decoder_layers": 2,
            },
            "num_words": 5, "id_layers": 1, "groups": 1,
        },
    },
    "data": {"class_path": "MOTDataModule", "init_args": {"train": "videos", "benchmark": "generic", "clip_length": 3}},
    "trainer": {"accelerator": "cpu", "max_epochs": 1, "enable_checkpointing": False, "num_sanity_val_steps": 0},
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A sequence of six frames, to be spoiled, and a config that trains on it."""
    monkeypatch.chdir(tmp_path)
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):  # Lightning sets them
        monkeypatch.setenv(name, "0")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    video = SyntheticVideo(num_videos=1, num_frames=6, image_size=(48, 64), num_objects=(3, 3), seed=4)
    return video.save(tmp_path / "videos", 0)


def image(folder, number):
    return folder / "img1" / f"{number:06d}.png"


def cut(folder, number):
    path = image(folder, number)
    path.write_bytes(path.read_bytes()[:300])


def shorten(folder, length):
    for number in range(length + 1, 7):
        image(folder, number).unlink()
    info = folder / "seqinfo.ini"
    info.write_text(info.read_text().replace("seqLength=6", f"seqLength={length}"))
    truth = folder / "gt" / "gt.txt"
    truth.write_text(
        "".join(row for row in truth.read_text().splitlines(keepends=True) if int(row.split(",")[0]) <= length)
    )


FAULTS = {
    "missing image": (lambda folder: image(folder, 3).unlink(), "000003.png is missing"),
    "corrupt image": (lambda folder: cut(folder, 3), "000003.png cannot be decoded"),
    "not an image": (lambda folder: image(folder, 2).write_text("no pixels"), "000002.png cannot be decoded"),
    "no image at all": (lambda folder: [one.unlink() for one in (folder / "img1").iterdir()], "img1"),
    "no ground truth": (lambda folder: (folder / "gt" / "gt.txt").unlink(), "found none"),
    "empty ground truth": (
        lambda folder: (folder / "gt" / "gt.txt").write_text(""),
        "expected ground truth that is scored",
    ),
    "shorter than a clip": (lambda folder: shorten(folder, 2), "expected at least 3 frames for a clip, got 2"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_is_told_in_one_sentence(folder, capsys, fault, workers):
    if workers and fault != "corrupt image":
        pytest.skip("told before there are workers")
    spoil, words = FAULTS[fault]
    spoil(folder)
    code = main(["fit", "--config", "config.yaml", "--data.num_workers", str(workers)])
    complaint = capsys.readouterr().err
    lines = [line for line in complaint.splitlines() if line.startswith("mot: error: ")]
    assert code == 1
    assert len(lines) == 1, complaint
    assert words in lines[0]
    assert "Traceback" not in complaint


@pytest.mark.parametrize("spoil", ["ids jump", "no objects in a frame", "one object only", "unordered rows"])
def test_what_only_looks_wrong_trains(folder, capsys, spoil):
    truth = folder / "gt" / "gt.txt"
    rows = [row.strip().split(",") for row in truth.read_text().splitlines()]
    if spoil == "ids jump":
        rows = [[frame, str(int(one) ** 9 + 10**12), *rest] for frame, one, *rest in rows]
    elif spoil == "no objects in a frame":
        rows = [row for row in rows if row[0] not in ("2", "3", "4")]
    elif spoil == "one object only":
        rows = rows[:1]
    else:
        rows = rows[::-1]
    truth.write_text("".join(",".join(row) + "\n" for row in rows))
    assert main(["fit", "--config", "config.yaml"]) == 0, capsys.readouterr().err
