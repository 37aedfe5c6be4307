import json
import shutil
import warnings

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from mot_core.data import Augmentation, MOTDataModule, SyntheticDataModule

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers:UserWarning",
    "ignore:Be aware that when using `ckpt_path`:UserWarning",
    "ignore:.*LeafSpec.* is deprecated:FutureWarning",  # lightning 2.6 with torch 2.13
)


class Recorder(lightning.LightningModule):
    """Module that learns the mean color and records its batches."""

    def __init__(self):
        super().__init__()
        self.color = torch.nn.Parameter(torch.zeros(3))
        self.seen = []

    def training_step(self, batch, index):
        assert batch.images.dtype == batch.targets[0].boxes_cxcywh.dtype
        self.seen.append((self.current_epoch, index, batch.sequences, batch.times.tolist()))
        return (batch.images.mean((0, 1, 3, 4)) - self.color).square().sum()

    def validation_step(self, batch, index):
        self.seen.append((batch.sequences, batch.times.tolist()))

    test_step = validation_step

    def predict_step(self, batch, index):
        self.validation_step(batch, index)
        return batch.times

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.05, momentum=0.9)


def trainer(**options):
    defaults = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
        "num_sanity_val_steps": 0,
    }
    return lightning.Trainer(**(defaults | options))


def synthetic(**arguments):
    options = {"num_videos": 7, "num_val_videos": 2, "num_frames": 6, "image_size": (32, 48), "clip_length": 2}
    return SyntheticDataModule(**(options | {"stride": 6, "batch_size": 2} | arguments))


def fit(data, checkpoint=None, **options):
    module = Recorder()
    trainer(**({"max_epochs": 3, "limit_val_batches": 0} | options)).fit(module, data, ckpt_path=checkpoint)
    return module


@pytest.mark.parametrize("limit", [{"max_epochs": 3}, {"max_epochs": -1, "max_steps": 12}])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_interrupted_training_resumes_exactly(tmp_path, limit, num_workers):
    data = {"num_workers": num_workers}
    save = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    whole = fit(synthetic(**data), enable_checkpointing=True, callbacks=[save], **limit)
    assert [seen[:2] for seen in whole.seen] == [(epoch, step) for epoch in range(3) for step in range(4)]
    for step in (1, 4, 6) if num_workers else (1, 3, 4, 5, 8, 11):
        resumed = fit(synthetic(**data), tmp_path / f"step={step}.ckpt", **limit)
        assert resumed.seen == whole.seen[step:]
        assert torch.equal(resumed.color, whole.color)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resuming_after_a_limited_epoch(tmp_path, num_workers):
    save = ModelCheckpoint(tmp_path, "{epoch}", every_n_epochs=1, save_top_k=-1)
    data = {"num_workers": num_workers}
    whole = fit(synthetic(**data), enable_checkpointing=True, callbacks=[save], limit_train_batches=3)
    resumed = fit(synthetic(**data), tmp_path / "epoch=0.ckpt", limit_train_batches=3)
    assert [seen[:2] for seen in resumed.seen] == [(epoch, step) for epoch in (1, 2) for step in range(3)]
    assert resumed.seen == whole.seen[3:]
    assert torch.equal(resumed.color, whole.color)


def test_double_precision_batches():
    assert fit(synthetic(), precision="64-true", max_epochs=1).color.dtype == torch.float64


def test_evaluation_frames_are_in_order():
    for name, split in (("validate", "val"), ("test", "test"), ("predict", "test")):
        module = Recorder()
        getattr(trainer(), name)(module, synthetic(num_workers=1), **({"verbose": False} if name != "predict" else {}))
        assert module.seen == [
            ((f"synthetic-{split}-0-{video}",), [[frame]]) for video in range(2) for frame in range(1, 7)
        ]


def test_half_split(video_root):
    data = MOTDataModule(video_root, video_root, benchmark="generic", split="half", clip_length=5)
    module = fit(data, max_epochs=1, limit_val_batches=1.0)
    training = [times for seen in module.seen if len(seen) == 4 for times in seen[3]]
    validation = [times for seen in module.seen if len(seen) == 2 for times in seen[1]]
    assert training == [[1, 2, 3, 4, 5]] * 2
    assert validation == [[frame] for frame in (6, 7, 8)] * 2


def test_folders_and_coco_files_together(tmp_path, video_root, save_image):
    save_image("stills/a.png", (60, 40))
    content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"image_id": 1, "bbox": [5, 5, 20, 20]}]}
    (tmp_path / "list.json").write_text(json.dumps(content))
    folders = [str(path) for path in sorted(video_root.iterdir())]
    coco = {str(tmp_path / "list.json"): str(tmp_path / "stills")}
    data = MOTDataModule(folders, train_coco=coco, benchmark="generic", clip_length=8, batch_size=3)
    (batch,) = data.train_dataloader()
    assert sorted(batch.sequences) == ["1", "synthetic-train-4-0", "synthetic-train-4-1"]


def test_depth_and_resizing(video_root):
    resize = Augmentation(short_sides=(24,))
    data = MOTDataModule(video_root, val=video_root, benchmark="generic", with_depth=True, resize=resize)
    batch = next(iter(data.train_dataloader()))
    assert batch.targets[0].extras["depth"].shape == (1, 1, 48, 64)
    batch = next(iter(data.val_dataloader()))
    assert batch.image_size.tolist() == [[24, 32]]
    assert batch.original_size.tolist() == [[48, 64]]
    assert "depth" not in batch.targets[0].extras


def test_invalid_data_is_reported_before_training(video_root, video_folder):
    (video_folder / "img1" / "000002.png").unlink()
    faults = [
        (MOTDataModule(), "expected data for train, got none; set its argument 'train'"),
        (MOTDataModule(video_folder.parent, benchmark="generic"), r"000002\.png is missing"),
        (MOTDataModule(video_root, benchmark="generic", clip_length=9), "expected at least 9 frames for a clip, got 8"),
    ]
    for data, message in faults:
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            fit(data)


def test_training_without_validation_data(video_root):
    assert len(fit(MOTDataModule(video_root, benchmark="generic"), max_epochs=1, limit_val_batches=1.0).seen) == 14


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"num_workers": -1}, "num_workers: expected at least 0, got -1"),
        ({"split": "third"}, "split: expected 'none' or 'half', got 'third'"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        MOTDataModule(**arguments)


def test_corrupt_image_in_a_worker(video_folder):
    path = video_folder / "img1" / "000003.png"
    path.write_bytes(path.read_bytes()[:200])
    data = MOTDataModule(video_folder, benchmark="generic", num_workers=1)
    with warnings.catch_warnings(), pytest.raises(ValueError, match=r"image .*000003\.png cannot be decoded"):
        list(data.train_dataloader())


def test_validation_follows_the_size_of_training(video_root):
    augmentation = Augmentation(short_sides=(24, 36), max_long_side=50, flip=0.5)
    data = MOTDataModule(video_root, val=video_root, benchmark="generic", augmentation=augmentation)
    assert data.resize == Augmentation(short_sides=(36,), max_long_side=50)
    shapes = {tuple(batch.images.shape[-2:]) for batch in data.val_dataloader()}
    assert all(min(shape) <= 36 and max(shape) <= 50 for shape in shapes)
    assert (
        "a shorter side of 36 and a longer side of at most 50 pixels; to use another, set --data.resize"
        in data.notes()[0]
    )
    for given in ({"augmentation": augmentation, "resize": Augmentation()}, {}):
        data = MOTDataModule(video_root, val=video_root, benchmark="generic", **given)
        assert (data.resize, data.notes()) == (Augmentation(), [])


def test_data_without_a_benchmark_are_noted(video_root, tmp_path):
    data = MOTDataModule(shutil.copytree(video_root, tmp_path / "mine"))
    data.setup("fit")
    assert [note.partition(",")[0] for note in data.notes()] == ["no benchmark fits the names of the folders"]
