"""Mutated MOT and KITTI files: read_mot and read_kitti against parsers in plain loops, written from the formats."""

import re
from collections import Counter
from pathlib import Path

import numpy as np

from fuzz.damage import damage_bytes, damage_rows, data_folder, one_of, outcome
from mot_core.io import KITTI_CLASSES, make_scene, read_kitti, read_mot

NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)


class Invalid(Exception):
    pass


def case(rng, folder):
    kitti = rng.random() < 0.3
    kind = one_of(rng, ["ground_truth", "detections", "results"])
    text = _start(rng, kitti, kind)
    raw = damage_rows(rng, text, " " if kitti else ",").encode()
    if rng.random() < 0.1:
        raw = damage_bytes(rng, raw)
    if rng.random() < 0.1:
        raw = b"\xef\xbb\xbf" + raw
    path = folder / "rows.txt"
    path.write_bytes(raw)
    table, error = outcome(read_kitti if kitti else read_mot, path, kind=kind)
    expected, reason = None, None
    try:
        expected = (_kitti if kitti else _mot)(raw, kind)
    except Invalid as invalid:
        reason = invalid
    if expected is None:
        assert error is not None, f"{kind}: accepted, but {reason}"
        assert re.search(r"rows\.txt(:\d+)?: ", str(error)), f"no file and line: {error}"
        return
    assert error is None, f"{kind}: rejected a valid file: {error}"
    expected.sort(key=lambda row: row[0])
    found = np.column_stack([table.frames, table.ids, table.boxes_xyxy, table.scores, table.classes, table.visibility])
    np.testing.assert_array_equal(found, np.array(expected, np.float64).reshape(-1, 9))


def _start(rng, kitti, kind):
    data = data_folder()
    names = {"ground_truth": "gt/gt.txt", "detections": "det/*.txt", "results": "gt/gt.txt"}
    pattern = "KITTI/training/label_02/*.txt" if kitti else f"*/*/*/{names[kind]}"
    paths = sorted(Path(data).glob(pattern)) if data else []
    if paths:
        lines = one_of(rng, paths).read_text().splitlines()
        first = int(rng.integers(len(lines))) if lines else 0
        return "\n".join(lines[first : first + int(rng.integers(1, 30))])
    if kitti:
        rest = "0 0 -1.5 10.0 20.0 40.0 60.0 1 1 1 1 1 1 1"
        return "\n".join(f"{frame} {identity} Car {rest}" for frame in range(4) for identity in range(3))
    scene = make_scene(num_objects=3, num_frames=5, seed=int(rng.integers(1000)))
    table = scene.detections if kind == "detections" else scene.ground_truth
    boxes = np.concatenate([table.boxes_xyxy[:, :2], table.boxes_xyxy[:, 2:] - table.boxes_xyxy[:, :2]], 1).round(2)
    rows = zip(table.frames.tolist(), table.ids.tolist(), boxes.tolist(), table.scores.tolist(), strict=True)
    return "\n".join(",".join(map(str, [frame, identity, *box, score])) for frame, identity, box, score in rows)


def _lines(raw):
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid("not UTF-8") from None
    text = text.removeprefix("\ufeff")
    return [line for line in re.split("\r\n|\r|\n", text) if line.strip()]


def _number(text):
    text = text.strip(" \t")
    if not NUMBER.fullmatch(text):
        raise Invalid(f"{text!r} is not a number")
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise Invalid(f"{text} overflows")
    return value


def _whole(value):
    if value != int(value) or abs(value) >= 2**53:
        raise Invalid(f"{value} is not a whole number")
    return int(value)


def _blank_fields(line):
    return [field for field in line.replace("\t", " ").split(" ") if field]


def _mot(raw, kind):
    rows = [line.split(",") if "," in line else _blank_fields(line) for line in _lines(raw)]
    if not rows:
        return []
    width = Counter(map(len, rows)).most_common(1)[0][0]
    if not 6 <= width <= 10 or any(len(row) != width for row in rows):
        raise Invalid("wrong number of columns")
    values = [[_number(field) for field in row] for row in rows]
    has_class = width in (8, 9) or (width == 10 and all(row[8] == row[9] == -1 for row in values))
    result, seen = [], set()
    for row in values:
        frame, identity = _whole(row[0]), _whole(row[1])
        left, top, wide, high = row[2:6]
        if frame < 1 or (identity < 0 and kind != "detections") or max(map(abs, row[2:6])) > 1e9:
            raise Invalid("frame, identity or box out of range")
        if min(wide, high) < (1e-3 if kind == "detections" else 0):
            raise Invalid("size out of range")
        if kind != "detections":
            if (frame, identity) in seen:
                raise Invalid("identity twice in a frame")
            seen.add((frame, identity))
        label = _whole(row[7]) if has_class else -1
        score = row[6] if width > 6 else 1.0
        visible = row[8] if width == 9 and row[8] >= 0 else 1.0
        result.append([frame, identity, left, top, left + wide, top + high, score, label, visible])
    if kind == "detections" and len({row[7] < 0 for row in result}) == 2:
        raise Invalid("some detections have a class and others do not")
    return result


def _kitti(raw, kind):
    classes = {name.lower(): number for number, name in enumerate(KITTI_CLASSES)}
    classes["person_sitting"] = classes["person"]
    result, seen = [], set()
    for line in _lines(raw):
        fields = _blank_fields(line)
        if len(fields) not in (17, 18) or fields[2].lower() not in classes:
            raise Invalid("wrong columns or type")
        label = classes[fields[2].lower()]
        numbers = [_number(fields[column]) for column in (0, 1, 3, 4, 6, 7, 8, 9)]
        score = _number(fields[17]) if len(fields) == 18 else 1.0
        if max(map(abs, [*numbers, score])) >= 2**53:
            raise Invalid("too large")
        frame, identity, _, _ = map(_whole, numbers[:4])
        left, top, right, bottom = numbers[4:]
        if frame < 0 or (identity < 0 and kind != "detections" and fields[2].lower() != "dontcare"):
            raise Invalid("frame or identity out of range")
        if max(map(abs, numbers[4:])) > 1e9 or right < left or bottom < top:
            raise Invalid("box out of range")
        if kind == "detections" and min(right - left, bottom - top) < 1e-3:
            raise Invalid("empty detection")
        key = (frame, identity, label if kind == "results" else None)
        if kind != "detections" and identity >= 0:
            if key in seen:
                raise Invalid("identity twice in a frame")
            seen.add(key)
        result.append([frame, identity, left, top, right, bottom, score, label, 1.0])
    return result
