"""`mot fdta depth` with a small depth model of random weights: files, scale, resume and errors."""

import os

import numpy as np
import pytest

if os.environ.get("MOT_TRANSFORMERS") != "1":
    pytest.skip("run by `nox -s tests_transformers`, which installs transformers", allow_module_level=True)

import torch
import yaml

from fdta_adapters.depth_maps import DepthModel, write_depth_maps
from mot_core.cli import main
from mot_core.data import MOTDataModule, SyntheticVideo
from mot_core.io import check, find_sequences
from mot_core.io.images import read_depth
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessor,
)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    torch.manual_seed(0)
    backbone = Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14,
        out_indices=[1, 2], apply_layernorm=True, reshape_hidden_states=False, mlp_ratio=2,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, patch_size=14, reassemble_factors=[2, 1],
        neck_hidden_sizes=[8, 8], fusion_hidden_size=8, head_hidden_size=4, head_in_index=-1,
    )  # fmt: skip
    model = DepthAnythingForDepthEstimation(config)
    model.head.conv3.bias.data.fill_(0.5)  # positive everywhere
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    DPTImageProcessor(size={"height": 28, "width": 28}).save_pretrained(folder)
    return folder


@pytest.fixture
def videos(tmp_path):
    video = SyntheticVideo(num_videos=2, num_frames=5, image_size=(48, 64))
    for number in range(2):
        video.save(tmp_path / "data", number)
    return tmp_path / "data"


def run(capsys, *arguments):
    code = main(["fdta", "depth", *map(str, arguments)])
    return code, *capsys.readouterr()


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.glob("*/depth/*"))}


def test_maps_of_all_sequences(videos, model_folder, capsys):
    code, out, err = run(capsys, videos, "--model", model_folder, "--benchmark", "generic")
    assert (code, err) == (0, "")
    assert out.count("5 maps of disparity written, 0 kept") == 2
    for sequence in find_sequences(videos, benchmark="generic"):
        maps = [read_depth(path) for path in sorted((sequence.path / "depth").glob("*.png"))]
        assert [one.shape for one in maps] == [(48, 64)] * 5
        assert max(one.max() for one in maps) == pytest.approx(255, abs=0.01)
        described = yaml.safe_load((sequence.path / "depth/depth.yaml").read_text())
        assert described["kind"] == "disparity"
    report = check(videos, benchmark="generic")
    assert not [one for one in report.problems if one.kind == "depth"]
    data = MOTDataModule(videos, benchmark="generic", with_depth=True, clip_length=2, batch_size=1)
    batch = next(iter(data.train_dataloader()))
    assert batch.targets[0].extras["depth"].isfinite().all()


def test_interrupted_run_resumes_with_equal_maps(videos, model_folder, capsys):
    arguments = (videos, "--model", model_folder, "--benchmark", "generic", "--batch-size", "2")
    assert run(capsys, *arguments)[0] == 0
    whole = contents(videos)
    for name in ("000002.png", "000005.png"):
        next(videos.glob(f"*/depth/{name}")).unlink()
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert "2 maps of disparity written, 3 kept" in out
    assert "0 maps of disparity written, 5 kept" in out
    assert contents(videos) == whole


def test_maps_equal_the_output_of_the_model(videos, model_folder):
    sequence = find_sequences(videos, benchmark="generic")[0]
    model = DepthModel(model_folder, device="cpu")
    write_depth_maps(sequence, model)
    from mot_core.io import read_image

    images = sorted((sequence.path / "img1").iterdir())
    outputs = [model([read_image(path)])[0] for path in images]
    largest = max(one.max() for one in outputs)
    for path, output in zip(images, outputs, strict=True):
        stored = read_depth(sequence.path / "depth" / f"{path.stem}.png")
        np.testing.assert_allclose(stored, output * 255 / largest, atol=0.01)


def test_metric_models_and_the_flag(videos, model_folder, capsys):
    model = DepthModel(model_folder, kind="depth")
    assert model.kind == "depth"
    run(capsys, videos, "--model", model_folder, "--benchmark", "generic")
    next(videos.glob("*/depth/000001.png")).unlink()
    code, _, err = run(capsys, videos, "--model", model_folder, "--benchmark", "generic", "--kind", "depth")
    assert code == 1
    assert "expected maps of depth by this command, got maps of disparity; move them elsewhere" in err


def test_other_maps_are_kept_from_harm(videos, model_folder, capsys):
    folder = next(videos.iterdir()) / "depth"
    folder.mkdir()
    from PIL import Image

    Image.new("L", (64, 48), 7).save(folder / "000001.png")
    code, _, err = run(capsys, videos, "--model", model_folder, "--benchmark", "generic")
    assert code == 1
    assert "expected maps of this command, got others without depth.yaml" in err


def test_folders_without_a_model(tmp_path, videos, capsys):
    code, _, err = run(capsys, videos, "--model", tmp_path / "none", "--benchmark", "generic")
    assert code == 1
    assert "none: expected the folder of a depth model saved by transformers, found none; download it first" in err
    code, _, err = run(capsys, videos, "--model", videos, "--benchmark", "generic")
    assert code == 1
    assert "expected a depth model saved by transformers, got another" in err
    code, _, err = run(capsys, videos, "--model", videos, "--batch-size", "0")
    assert code == 1
    assert "--batch-size: expected at least 1, got 0" in err
