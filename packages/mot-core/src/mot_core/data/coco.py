"""COCO-style annotation files of still images (converted from CrowdHuman) and videos (COCO-video)."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from mot_core.data.index import FrameIndex, Video, build_index
from mot_core.io.documents import read_json
from mot_core.io.mot import EXACT, FARTHEST

Record = dict[str, Any]


def read_coco(path: str | PathLike[str], image_dir: str | PathLike[str]) -> FrameIndex:
    """Read the images and boxes of a COCO-style file.

    ``images`` have ``id``, ``file_name`` and optionally ``height`` and ``width``. Images with a ``video_id`` (and
    ``frame_id``) are frames of the videos named in ``videos``; the others are still images. ``annotations`` have
    ``image_id``, ``bbox`` (left, top, width, height) and, in videos, ``track_id`` (or ``instance_id``). In a still
    image, every object has its own identity. ``iscrowd`` or ``ignore`` of 1 marks regions that are neither object nor
    background. Categories become labels in the order of their ids.

    Args:
        path: JSON file.
        image_dir: Folder that contains the image files.

    Returns:
        Index of all frames and boxes.

    Raises:
        FileNotFoundError: If the file or an image is missing.
        ValueError: If the file is not a COCO-style file, or a record is invalid.

    >>> import json, tempfile
    >>> from mot_core.data.decode import pillow
    >>> folder = Path(tempfile.mkdtemp())
    >>> pillow().new("RGB", (40, 30)).save(folder / "street.png")
    >>> images = [{"id": 5, "file_name": "street.png"}]
    >>> annotations = [{"image_id": 5, "bbox": [1, 2, 10, 20]}]
    >>> _ = (folder / "list.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    >>> read_coco(folder / "list.json", folder).read(0, [0])[0].boxes_xyxy
    array([[ 1.,  2., 11., 22.]])
    """
    file = Path(path)
    content = _load(file)
    images: list[Record] = content["images"]
    if not images:
        raise ValueError(f"{file}: expected at least one record in 'images', got none; add the images")
    rows: dict[Any, list[Record]] = {_key(file, "images", image, "id"): [] for image in images}
    if len(rows) != len(images):
        raise ValueError(f"{file}: expected a unique 'id' per image, got duplicates; renumber the images")
    for annotation in content["annotations"]:
        image_id = _key(file, "annotations", annotation, "image_id")
        if image_id not in rows:
            raise ValueError(
                f"{file}: expected 'image_id' of a record in 'images', got {image_id!r}; remove the annotation"
            )
        rows[image_id].append(annotation)
    categories = sorted(
        {_whole(file, "categories", one, "id") for one in content.get("categories", [])}
        or {_category(file, annotation) for annotation in content["annotations"]}
    )
    labels = {category: label for label, category in enumerate(categories)}
    names = {_key(file, "videos", one, "id"): str(one.get("name", one["id"])) for one in content.get("videos", [])}
    groups: dict[Any, list[Record]] = {}
    for image in images:
        key = ("video", _key(file, "images", image, "video_id")) if "video_id" in image else ("still", image["id"])
        groups.setdefault(key, []).append(image)
    return build_index(
        _video(file, Path(image_dir), kind == "still", names.get(key, str(key)), group, rows, labels)
        for (kind, key), group in groups.items()
    )


def _video(
    file: Path,
    image_dir: Path,
    still: bool,
    name: str,
    images: list[Record],
    rows: dict[Any, list[Record]],
    labels: dict[Any, int],
) -> Video:
    if not still:
        images = sorted(images, key=lambda image: _whole(file, "images", image, "frame_id"))
    paths = [image_dir / str(_get(file, "images", image, "file_name")) for image in images]
    for image_path in paths:
        if not image_path.is_file():
            raise FileNotFoundError(f"{file}: image {image_path} is missing; add the file, or remove its record")
    height, width = (_whole(file, "images", images[0], key) if key in images[0] else 0 for key in ("height", "width"))
    found = [(position, one) for position, image in enumerate(images) for one in rows[image["id"]]]
    ignore = np.array([bool(one.get("iscrowd", 0) or one.get("ignore", 0)) for _, one in found], bool)
    ids = np.arange(len(found)) if still else np.array([_identity(file, one) for _, one in found], np.int64)
    frame = np.array([position for position, _ in found], np.int64)
    kept = np.stack([frame, ids])[:, ~ignore]
    if kept.shape[1] != np.unique(kept, axis=1).shape[1]:
        raise ValueError(f"{file}: expected one box per identity and frame, got two in {name}; remove one of them")
    return Video(
        name=name,
        numbers=[_whole(file, "images", image, "frame_id") if "frame_id" in image else 1 for image in images],
        paths=paths,
        frame=frame,
        boxes_xyxy=np.array([_box(file, one) for _, one in found], np.float64).reshape(-1, 4),
        ids=np.where(ignore, -1, ids),
        labels=np.array([_label(file, one, labels) for _, one in found], np.int64),
        visibility=np.array(
            [_number(file, one, "visibility", one.get("visibility", 1)) for _, one in found], np.float64
        ),
        ignore=ignore,
        size=(height, width) if height and width else None,
        still=still,
    )


def _load(file: Path) -> dict[str, Any]:
    content = read_json(file)
    for key in ("images", "annotations"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(
                f"{file}: expected lists 'images' and 'annotations', got no list {key!r}; use a COCO-style file"
            )
    return content


def _get(file: Path, part: str, record: Any, key: str) -> Any:
    if not isinstance(record, dict) or key not in record:
        raise ValueError(
            f"{file}: expected the key {key!r} in every record of {part!r}, got {str(record)[:80]}; add it"
        )
    return record[key]


def _key(file: Path, part: str, record: Record, key: str) -> int | str:
    value = _get(file, part, record, key)
    if not isinstance(value, int | str):
        raise ValueError(f"{file}: expected {key!r} in {part!r} as an integer or a string, got {value!r}; correct it")
    return value


def _number(file: Path, record: Record, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= FARTHEST:
        raise ValueError(
            f"{file}: expected numbers up to {FARTHEST:g} for {key!r}, got {value!r} in {str(record)[:80]}; correct it"
        )
    return float(value)


def _whole(file: Path, part: str, record: Record, key: str) -> int:
    value = _get(file, part, record, key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < EXACT or value != int(value):
        raise ValueError(f"{file}: expected {key!r} in {part!r} as a whole number, got {value!r}; correct it")
    return int(value)


def _category(file: Path, annotation: Record) -> int:
    return _whole(file, "annotations", annotation, "category_id") if "category_id" in annotation else 0


def _label(file: Path, annotation: Record, labels: dict[int, int]) -> int:
    category = _category(file, annotation)
    if category not in labels:
        raise ValueError(
            f"{file}: expected 'category_id' of a record in 'categories', got {category}; add the category"
        )
    return labels[category]


def _identity(file: Path, annotation: Record) -> int:
    for key in ("track_id", "instance_id"):
        if key in annotation:
            return _whole(file, "annotations", annotation, key)
    raise ValueError(f"{file}: expected 'track_id' in annotations of videos, got {str(annotation)[:80]}; add it")


def _box(file: Path, annotation: Record) -> list[float]:
    box = _get(file, "annotations", annotation, "bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError(f"{file}: expected 'bbox' as [left, top, width, height], got {box!r}; correct it")
    left, top, width, height = (_number(file, annotation, "bbox", value) for value in box)
    if min(width, height) < 0:
        raise ValueError(f"{file}: expected a 'bbox' with a width and height of at least 0, got {box}; correct it")
    return [left, top, left + width, top + height]
