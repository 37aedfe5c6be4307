"""Depth maps of sequences, estimated by a model of ``transformers``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from mot_core.extras import needs
from mot_core.io import Sequence as ImageSequence
from mot_core.io import open_atomic, read_image
from mot_core.io.atomic import atomic_path
from mot_core.io.images import depth_file, list_images, pillow, read_depth_format

Kind = Literal["disparity", "depth"]
LARGEST = 255.0
"""Largest value of a map after scaling; the bins of the adapter end at 256."""
LEVELS = 65535
"""Largest stored value: maps are gray images of 16 bits."""
SAMPLED = 32
"""Images of a sequence from which its largest value is determined."""
METRIC = ("zoedepth", "depth_pro")
"""Types of models that estimate depth in meters; the others estimate disparity, unless their configuration differs."""


class DepthModel:
    """A depth model saved by ``transformers`` in a folder.

    Args:
        folder: Folder with the model and its image processor.
        kind: "disparity" if larger outputs are nearer, "depth" if they are farther, "auto" to read it from the
            configuration of the model.
        device: "cpu", "cuda", or "auto" for the GPU if there is one.

    Raises:
        ModuleNotFoundError: If transformers is not installed.
        FileNotFoundError: If there is no such folder.
        ValueError: If the folder does not hold a depth model, or ``kind`` or ``device`` is invalid.

    >>> DepthModel("no/such/folder")
    Traceback (most recent call last):
    FileNotFoundError: no/such/folder: expected the folder of a depth model saved by transformers, found none; ...
    """

    def __init__(self, folder: str | PathLike[str], *, kind: str = "auto", device: str = "auto") -> None:
        if kind not in ("auto", *get_args(Kind)):
            raise ValueError(f"kind: expected auto, disparity or depth, got {kind!r}")
        if not Path(folder).is_dir():
            raise FileNotFoundError(
                f"{folder}: expected the folder of a depth model saved by transformers, found none; download it first"
            )
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        with needs("transformers", "depth", "estimating depth", package="fdta-adapters"):
            from transformers.utils import logging

            from transformers import AutoImageProcessor, AutoModelForDepthEstimation
        logging.disable_progress_bar()  # of loading, before ours
        try:
            self.processor: Any = AutoImageProcessor.from_pretrained(str(folder), local_files_only=True)
            model: Any = AutoModelForDepthEstimation.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{folder}: expected a depth model saved by transformers, got another ({reason})"
            ) from error
        self.model = model.eval().to(self.device)
        self.kind: Kind = kind_of(model.config) if kind == "auto" else kind  # type: ignore[assignment]

    @torch.inference_mode()
    def __call__(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.float32]]:
        """Return one map ``(H, W)`` per image ``(H, W, 3)``, in the units of the model; negative values become 0."""
        inputs = self.processor(images=list(images), return_tensors="pt").to(self.device)
        predicted = self.model(**inputs).predicted_depth[:, None].float()
        maps = []
        for image, one in zip(images, predicted, strict=True):
            resized = torch.nn.functional.interpolate(one[None], image.shape[:2], mode="bicubic", align_corners=False)
            maps.append(resized[0, 0].clamp(min=0).cpu().numpy())
        return maps


def kind_of(config: Any) -> Kind:
    """Return whether a model with this configuration estimates disparity or depth.

    >>> from types import SimpleNamespace
    >>> kind_of(SimpleNamespace(model_type="depth_anything", depth_estimation_type="metric"))
    'depth'
    """
    metric = getattr(config, "depth_estimation_type", None) == "metric" or config.model_type in METRIC
    return "depth" if metric else "disparity"


def write_depth_maps(
    sequence: ImageSequence,
    model: DepthModel,
    *,
    batch_size: int = 4,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, int]:
    """Write ``depth/NAME.png`` for every image of a sequence, and ``depth/depth.yaml``.

    Maps are gray images of 16 bits, scaled so that 255 is the largest value in 32 evenly spaced images; values beyond
    are clipped. Maps that exist are kept, and an interrupted run continues with the same scale.

    Args:
        sequence: Sequence with images.
        model: Depth model.
        batch_size: Images per step.
        on_progress: Called with the number of images done and of all.

    Returns:
        Number of maps written and of maps kept.

    Raises:
        FileNotFoundError: If the sequence has no images.
        ValueError: If an image cannot be read, maps of the other kind exist, or the model returns no finite values.

    >>> import tempfile
    >>> from mot_core.data import SyntheticVideo
    >>> from mot_core.io import find_sequences
    >>> video = SyntheticVideo(num_videos=1, num_frames=3, with_depth=True).save(tempfile.mkdtemp(), 0)
    >>> (sequence,) = find_sequences(video, benchmark="generic")
    >>> no_model: Any = None  # not needed, because all maps exist
    >>> write_depth_maps(sequence, no_model)
    (0, 3)
    """
    files = list_images(sequence.image_dir) if sequence.image_dir else None
    if sequence.image_dir is None or files is None:
        raise FileNotFoundError(f"{sequence.path}: expected images, found none; depth is estimated from images")
    images = [sequence.image_dir / files.name(number) for number in files.numbers]
    missing = [path for path in images if depth_file(path) is None]
    on_progress(len(images) - len(missing), len(images))
    if not missing:
        return 0, len(images)
    folder = sequence.image_dir.parent / "depth"
    largest = _largest(folder, images, model, batch_size)
    done = len(images) - len(missing)
    for paths, maps in _estimated(missing, model, batch_size):
        for path, values in zip(paths, maps, strict=True):
            stored = (values * (LEVELS / largest)).clip(0, LEVELS).round().astype(np.uint16)
            with atomic_path(folder / f"{path.stem}.png") as temporary:
                pillow().fromarray(stored).save(temporary, format="png")
        done += len(paths)
        on_progress(done, len(images))
    return len(missing), len(images) - len(missing)


def _largest(folder: Path, images: list[Path], model: DepthModel, batch_size: int) -> float:
    """Return the model's output that is stored as the largest value, and record it in ``depth.yaml``."""
    described = read_depth_format(folder) if folder.is_dir() else None
    if described is None and any(depth_file(image) for image in images):
        raise ValueError(f"{folder}: expected maps of this command, got others without depth.yaml; move them elsewhere")
    if described is not None:
        if described.kind != model.kind or described.largest is None:
            raise ValueError(
                f"{folder}: expected maps of {model.kind} by this command, got maps of {described.kind}; "
                "move them elsewhere"
            )
        return described.largest
    sampled = [images[at] for at in np.linspace(0, len(images) - 1, min(SAMPLED, len(images))).round().astype(int)]
    largest = max(float(one.max()) for _, maps in _estimated(sampled, model, batch_size) for one in maps)
    if not 0 < largest < float("inf"):
        raise ValueError(f"{folder}: expected positive finite depth from the model, got at most {largest}")
    folder.mkdir(parents=True, exist_ok=True)
    with open_atomic(folder / "depth.yaml") as file:
        file.write(f"kind: {model.kind}\nscale: {LARGEST / LEVELS!r}\nlargest: {largest!r}\n")
    return largest


def _estimated(
    paths: list[Path], model: DepthModel, batch_size: int
) -> Iterator[tuple[list[Path], list[npt.NDArray[np.float32]]]]:
    for start in range(0, len(paths), batch_size):
        batch = paths[start : start + batch_size]
        yield batch, model([read_image(path) for path in batch])
