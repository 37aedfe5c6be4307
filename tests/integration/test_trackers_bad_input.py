"""Invalid data is reported by `mot fit` in one sentence; unusual but valid data can be trained on."""

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
    """A sequence of six frames that a test may damage, and a config that trains on it."""
    monkeypatch.chdir(tmp_path)
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):  # set by Lightning
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
    "no ground truth": (lambda folder: (folder / "gt" / "gt.txt").unlink(), "gt.txt, found none; add it"),
    "empty ground truth": (
        lambda folder: (folder / "gt" / "gt.txt").write_text(""),
        "expected ground truth that is scored",
    ),
    "shorter than a clip": (lambda folder: shorten(folder, 2), "expected at least 3 frames for a clip, got 2"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("workers", [0, 1])
def test_invalid_data_is_reported_in_one_sentence(folder, capsys, fault, workers):
    if workers and fault != "corrupt image":
        pytest.skip("reported before workers start")
    damage, words = FAULTS[fault]
    damage(folder)
    code = main(["fit", "--config", "config.yaml", "--data.num_workers", str(workers)])
    printed = capsys.readouterr().err
    lines = [line for line in printed.splitlines() if line.startswith("mot: error: ")]
    assert code == 1
    assert len(lines) == 1, printed
    assert words in lines[0]
    assert "Traceback" not in printed


@pytest.mark.parametrize("damage", ["ids jump", "no objects in a frame", "one object only", "unordered rows"])
def test_unusual_data_is_valid(folder, capsys, damage):
    truth = folder / "gt" / "gt.txt"
    rows = [row.strip().split(",") for row in truth.read_text().splitlines()]
    if damage == "ids jump":
        rows = [[frame, str(int(one) ** 9 + 10**12), *rest] for frame, one, *rest in rows]
    elif damage == "no objects in a frame":
        rows = [row for row in rows if row[0] not in ("2", "3", "4")]
    elif damage == "one object only":
        rows = rows[:1]
    else:
        rows = rows[::-1]
    truth.write_text("".join(",".join(row) + "\n" for row in rows))
    assert main(["fit", "--config", "config.yaml"]) == 0, capsys.readouterr().err
