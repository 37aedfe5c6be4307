"""Random YAML and JSON: repeated keys and unclear numbers are found, everything else is read as by PyYAML and json."""

import json
import string

import numpy as np
import yaml

from fuzz.damage import damage_bytes, one_of, outcome
from mot_core.cli.sweep.space import read_sweep
from mot_core.data.coco import read_coco
from mot_core.io.documents import read_json, read_yaml

WORDS = ["lr", "model", "a", "x", "010", "1:30", "yes", "null", "~", "", "é", "1e-4", "*a", "&b", "-", "#", "[", "{"]


def case(rng, folder):
    one_of(rng, [_yaml, _repeated_key, _damaged_yaml, _json, _sweep, _coco])(rng, folder)


def _value(rng, depth=0):
    kind = int(rng.integers(9 if depth < 4 else 6))
    if kind == 0:
        return int(rng.integers(-(10**9), 10**9))
    if kind == 1:
        return float(rng.normal() * 10.0 ** rng.integers(-30, 30))
    if kind == 2:
        return one_of(rng, [True, False, None, float("inf")])
    if kind <= 5:
        letters = string.ascii_letters + " :#-_'\"\n0123456789,[]{}&*!|>%@"
        return one_of(rng, [one_of(rng, WORDS), "".join(rng.choice(list(letters), int(rng.integers(12))))])
    if kind == 6:
        return [_value(rng, depth + 1) for _ in range(rng.integers(4))]
    return {f"k{number}": _value(rng, depth + 1) for number in range(rng.integers(4))}


def _yaml(rng, folder):
    value = _value(rng)
    style = one_of(rng, [None, True, False])
    text = yaml.safe_dump(value, default_flow_style=style, sort_keys=bool(rng.integers(2)), allow_unicode=True)
    path = folder / "a.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    assert read_yaml(path) == value


def _repeated_key(rng, folder):
    """A key is repeated somewhere: the line of the second one is reported."""
    depth, lines = int(rng.integers(1, 6)), []
    for level in range(depth):
        lines += [f"{'  ' * level}k{number}: {number}" for number in range(rng.integers(1, 4))]
        lines.append(f"{'  ' * level}deeper:")
    level = int(rng.integers(depth))
    lines.append(f"{'  ' * depth}end: 1")
    lines.append(f"{'  ' * level}{one_of(rng, ['k0', chr(34) + 'k0' + chr(34)])}: 9")
    path = folder / "a.yaml"
    path.write_text("\n".join(lines) + "\n")
    _, error = outcome(read_yaml, path)
    assert f"a.yaml:{len(lines)}: expected each key once, got 'k0'" in str(error)


def _damaged_yaml(rng, folder):
    text = yaml.safe_dump(_value(rng)).encode() + one_of(rng, [b"", b"a: 010\n", b"b: 1:30\n", b"&a [*a]\n"])
    path = folder / "a.yaml"
    path.write_bytes(damage_bytes(rng, text))
    value, error = outcome(read_yaml, path)
    if error is None:
        expected = yaml.safe_load(path.read_bytes().decode("utf-8-sig"))
        assert repr(value) == repr(expected)


def _json(rng, folder):
    value = _value(rng)
    path = folder / "a.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    assert read_json(path) == value
    path.write_bytes(damage_bytes(rng, path.read_bytes()))
    value, error = outcome(read_json, path)
    if error is None:
        assert repr(value) == repr(json.loads(path.read_bytes().decode("utf-8-sig")))


def _sweep(rng, folder):
    numbers = [0, 1, -1, 1e9, 10**17, float("inf"), float("nan"), "1e-4", True, None, [], 1e-300, 2.5]
    dimensions = {}
    for number in range(rng.integers(1, 4)):
        keys = ["min", "max", "q", "values", "value", "distribution"]
        chosen = rng.choice(keys, int(rng.integers(1, 5)), replace=False)
        dimensions[f"p{number}"] = {
            str(key): one_of(rng, [[1, 2], one_of(rng, numbers), "uniform", "q_uniform", "int_uniform"])
            for key in chosen
        }
    content = {
        "command": ["${env}", "mot", "fit", "--config", "motip_synthetic", "${args}"],
        "method": one_of(rng, ["grid", "random", "bayes", "none"]),
        "metric": {"name": "val/HOTA", "goal": "maximize"},
        "parameters": dimensions,
    }
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(content))
    sweep, error = outcome(read_sweep, path)
    if error is None and sweep.method == "grid":
        assert 1 <= len(sweep.grid()) <= 100_000


def _coco(rng, folder):
    from PIL import Image

    Image.new("RGB", (40, 30)).save(folder / "a.png")
    still = bool(rng.integers(2))
    frame = {} if still else {"video_id": 1, "frame_id": 1}
    boxes = [
        {"image_id": 5, "bbox": rng.uniform(0, 20, 4).tolist(), "track_id": number, "category_id": 1}
        for number in range(rng.integers(0, 4))
    ]
    content = {"images": [{"id": 5, "file_name": "a.png", **frame}], "annotations": boxes, "categories": [{"id": 1}]}
    bad = rng.random() < 0.7
    if bad:
        part = one_of(rng, ["images", "annotations", "categories"])
        if content[part]:
            record = one_of(rng, content[part])
            key = one_of(rng, list(record))
            record[key] = one_of(rng, [None, [], {}, "x", -1, 1.5, True, 10**17, float("inf"), float("nan"), [1, 2]])
    path = folder / "list.json"
    path.write_text(json.dumps(content))
    index, error = outcome(read_coco, path, folder)
    assert bad or error is None
    if error is None:
        assert np.isfinite(index.read(0, [0])[0].boxes_xyxy).all()
