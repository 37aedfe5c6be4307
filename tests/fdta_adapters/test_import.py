"""`mot import` and `mot track` on weights of a small FDTA with the released key names."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from _helpers import fdta_reference as reference
from _helpers.trackers.official_names import officially
from fdta_adapters import SpatialAdapterPlugin, TemporalAdapterPlugin
from mot_core.cli import main
from mot_core.data import SyntheticDataModule, SyntheticVideo
from mot_core.plugins import registry
from mot_core.trackers import MOTIP, DetectorSettings, Tracker

SMALL = {
    "backbone": "small", "num_queries": 6, "embed_dim": 32, "num_heads": 8, "ffn_dim": 32, "num_levels": 3,
    "num_encoder_layers": 1, "num_decoder_layers": 2,
}  # fmt: skip
MODEL = {"num_words": 8, "id_layers": 1, "detection_threshold": 0.0, "newborn_threshold": 0.0, "id_threshold": 0.0}
RENAMED = [
    (r"^trajectory_model\.adapter\.norm\.", "trajectory_modeling.norm."),
    (r"^trajectory_model\.ffn\.norm\.", "trajectory_modeling.ffn_norm."),
    (r"^trajectory_model\.", "trajectory_modeling."),
    (r"^id_decoder\.time_bias$", "id_decoder.rel_pos_embeds"),
    (r"^id_decoder\.embed_to_word\.", "id_decoder.embed_to_word_layers.0."),
    (r"^id_decoder\.(self|cross)_attns\.", r"id_decoder.\1_attn_layers."),
    (r"^id_decoder\.(self|cross)_attn_norms\.", r"id_decoder.\1_attn_norm_layers."),
    (r"^id_decoder\.ffns\.(\d+)\.norm\.", r"id_decoder.ffn_norm_layers.\1."),
    (r"^id_decoder\.ffns\.", "id_decoder.ffn_layers."),
    (r"^plugins\.fdta_temporal\.adapter\.layers\.", "trajectory_embedding.trca."),
    (r"^plugins\.fdta_spatial\.adapter\.extractor\.fine\.", "detr.depth_predictor.proj."),
    (r"^plugins\.fdta_spatial\.adapter\.extractor\.coarse\.", "detr.depth_predictor.upsample."),
    (r"^plugins\.fdta_spatial\.adapter\.extractor\.blocks\.", "detr.depth_predictor.depth_head."),
    (r"^plugins\.fdta_spatial\.adapter\.head\.", "detr.depth_predictor.depth_classifier."),
    (r"^plugins\.fdta_spatial\.adapter\.encoder\.", "detr.depth_predictor.depth_encoder.layers."),
    (r"^plugins\.fdta_spatial\.adapter\.position\.", "detr.depth_predictor.depth_pos_embed."),
    (r"^plugins\.fdta_spatial\.adapter\.cross\.(\d+)\.", r"detr.transformer.decoder.layers.\1."),
    (r"^(detr\.transformer\.decoder\.layers\.\d+)\.attention\.", r"\1.cross_attn_depth."),
    (r"^(detr\.transformer\.decoder\.layers\.\d+)\.norm\.", r"\1.norm_depth."),
]  # fmt: skip


def released(tracker):
    """Return the weights of a tracker with the names of a released FDTA."""
    state = {f"detr.{name}": tensor for name, tensor in officially(tracker.detector.state_dict()).items()}
    for name, tensor in tracker.state_dict().items():
        if not name.startswith("detector."):
            for pattern, replacement in RENAMED:
                name = re.sub(pattern, replacement, name)
            state[name] = tensor
    spatial = tracker.plugins["fdta_spatial"]
    return state | {"detr.depth_predictor.depth_bin_values": spatial.bins.values()}


@pytest.fixture
def original(tmp_path, monkeypatch):
    """A tracker with the adapters of the released code, its weights in a file, and a config without adapters."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    tracker = MOTIP(DetectorSettings(**SMALL), **MODEL)
    tracker.attach(SpatialAdapterPlugin(num_bins=12, d_max=20.0, bin_value="left_edge", mask_padding=False, ffn_dim=24))
    tracker.attach(TemporalAdapterPlugin(layers=2, ffn_dim=40))
    tracker.setup()
    reference.randomize(tracker.plugins, scale=0.2)
    torch.save({"model": released(tracker)}, "released.pth")
    config = {"model": {"class_path": "MOTIP", "init_args": {"detector": SMALL, **MODEL}}}
    Path("small.yaml").write_text(yaml.safe_dump(config))
    return tracker.eval()


def stream(tracker):
    """Return identities, boxes and scores of a few frames."""
    data = SyntheticDataModule(num_videos=1, num_val_videos=1, num_frames=5, image_size=(64, 96), num_objects=(2, 4))
    data.setup("validate")
    return [tracker.track(batch) for batch in data.val_dataloader()]


def test_imported_tracker_equals_the_original(original, tmp_path, capsys):
    assert main(["import", "released.pth", "ours.ckpt", "--config", "small.yaml", "--report", "keys.txt"]) == 0
    out = capsys.readouterr().out
    assert re.match(r"\d+ keys used, 0 unused, 0 missing, 0 re-made", out), out
    tracker = Tracker.from_checkpoint("ours.ckpt")
    assert list(tracker.plugins) == ["fdta_spatial", "fdta_temporal"]
    assert tracker.plugins["fdta_spatial"].bins.num_bins == 12
    wanted, found = stream(original), stream(tracker)
    assert any(len(frame.ids) for frame in wanted)
    for one, other in zip(wanted, found, strict=True):
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.boxes_xyxy, other.boxes_xyxy)
        assert torch.equal(one.scores, other.scores)
    bare = Tracker.from_checkpoint("ours.ckpt", recorded_plugins=False)
    scores = [frame.scores for frame in stream(bare)]
    assert not any(torch.equal(one.scores, other) for one, other in zip(wanted, scores, strict=True))


def test_imported_tracker_tracks_from_the_command_line(original, tmp_path):
    assert main(["import", "released.pth", "ours.ckpt", "--config", "small.yaml"]) == 0
    folder = SyntheticVideo(num_videos=1, num_frames=3, image_size=(64, 96)).save(tmp_path / "videos", 0)
    assert main(["track", str(folder), "--tracker", "motip", "--checkpoint", "ours.ckpt", "--output", "out"]) == 0
    (result,) = (tmp_path / "out").glob("**/*.txt")
    assert result.read_text().count("\n") > 0


def test_initial_weights_of_attached_adapters(original, tmp_path, monkeypatch):
    """`--init` loads the adapters that are attached to the run, and no others."""
    from mot_core.cli.fit.weights import load_weights

    tracker = MOTIP(DetectorSettings(**SMALL), **MODEL)
    tracker.attach(TemporalAdapterPlugin(layers=2, ffn_dim=40))
    report = load_weights(tracker, "released.pth")
    assert all("depth" in name for name in report.unused)
    state = tracker.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in original.state_dict().items() if name in state)


def test_without_the_package(original, tmp_path, monkeypatch, capsys):
    """Without fdta-adapters the import keeps MOTIP and reports the rest as unused."""
    monkeypatch.setattr(registry, "entry_points", lambda group: [])
    assert main(["import", "released.pth", "ours.ckpt", "--config", "small.yaml"]) == 0
    assert "unused: detr.depth_predictor (" in capsys.readouterr().out
    assert not Tracker.from_checkpoint("ours.ckpt").plugins


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "trajectory_embedding.trca.1.norm2.bias",
            None,
            "expected all weights in the checkpoint, got none for",
        ),
        (
            "trajectory_embedding.trca.0.norm1.bias",
            torch.zeros(7),
            r"norm1.bias: expected shape \(32,\) in FDTA's",
        ),
        ("trajectory_embedding.trca.0.other", torch.zeros(7), "trca.0.other: expected no such key in FDTA's temporal"),
    ],
)
def test_invalid_weights(original, name, change, message):
    state = released(original)
    if change is None:
        del state[name]
    else:
        state[name] = change
    tracker = MOTIP(DetectorSettings(**SMALL), **MODEL)
    plugin = TemporalAdapterPlugin(layers=2, ffn_dim=40)
    tracker.attach(plugin)
    tracker.setup()
    with pytest.raises(ValueError, match=message):
        plugin.import_weights(state)
