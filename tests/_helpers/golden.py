"""Golden packs: reconstruction of their weights and inputs, and comparison of stages with their numbers.

``README.md`` in the folder of the packs describes the format, which all packs share.
"""

import functools
import json
import re

import numpy as np
import torch

RTOL, ATOL = 1e-4, 1e-5  # recommended by the README: parts of the originals are float32 in a float64 model


def uniform(n, k, salt=0):
    """Return u(n, k) in [-1, 1): a 32-bit hash of flat indices ``n`` and the entry's number ``k``, in float64."""
    mask = np.uint32(0xFFFFFFFF)
    start = ((k + 1) * 0x85EBCA77 + salt * 0xC2B2AE3D) & int(mask)
    with np.errstate(over="ignore"):
        x = np.asarray(n).astype(np.uint32) * np.uint32(0x9E3779B1) + np.uint32(start)
        x ^= x >> np.uint32(16)
        x *= np.uint32(0x7FEB352D)
        x ^= x >> np.uint32(15)
        x *= np.uint32(0x846CA68B)
        x ^= x >> np.uint32(16)
    return x / 2**31 - 1


class Pack:
    """A golden pack."""

    def __init__(self, path):
        self.data = json.loads(path.read_text(encoding="utf-8"))
        self.salt = self.data.get("salt", 0)

    def filled(self, k, *shape):
        """Return a tensor of u(n, k) for the flat indices n of ``shape``, the inputs of the packs."""
        count = int(np.prod(shape))
        return torch.from_numpy(uniform(np.arange(count), k, self.salt)).reshape(shape)

    def described(self, text, name="", shape=None):
        """Return the input that a rule such as "boxes (300,4) = 0.5+0.4*u(n,k=901)" of the pack describes.

        ``name`` selects one of several inputs in ``text``; ``shape`` is given where the rule has none.
        """
        rule = rf"{name}.*?(?:\((?P<shape>[\d,]+)\) = )?(?:(?P<offset>[\d.]+)\+)?(?P<scale>[\d.]+)\*u\(n,k=(?P<k>\d+)\)"
        match = re.search(rule, text)
        assert match, f"no input {name!r} in {text!r}"
        if match["shape"]:
            shape = [int(size) for size in match["shape"].split(",")]
        return float(match["offset"] or 0) + float(match["scale"]) * self.filled(int(match["k"]), *shape)

    def state_dict(self, constructed=None, keys=None, overrides=None):
        """Return the weights with the original names.

        ``constructed`` maps the names of constants of the architecture (``keep_buffers``) to their values. ``keys`` and
        ``overrides`` select the entries and scales of one model in packs of several.
        """
        offset = self.data.get("key_offset", 0)
        overrides = self.data["scale_overrides_regex"] if overrides is None else overrides
        state = {}
        for position, (name, shape, *remark) in enumerate(self.data["keys"] if keys is None else keys):
            note = remark[0] if remark else ""
            if note.startswith("alias_of:"):
                state[name] = state[note.removeprefix("alias_of:")]
            elif any(pattern in name for pattern in self.data.get("keep_buffers", [])):
                state[name] = (constructed or {})[name]
            else:
                state[name] = self._fill(name, shape, note, position + offset, overrides)
        return state

    def _fill(self, name, shape, note, k, overrides):
        if note in ("int64", "int32", "torch.int64") or name.endswith("num_batches_tracked"):
            return torch.zeros(shape, dtype=torch.int64)
        u = self.filled(k, *shape)
        spread = (3 / max(np.prod(shape[1:]), 1)) ** 0.5
        for pattern, scale in overrides.items():
            if re.search(pattern, name):
                if isinstance(scale, str):
                    return u * (float(scale.removeprefix("gain:").split()[0]) * spread)
                return u * scale
        if any(re.search(pattern, name) for pattern in self.data["unit_scale"]):
            return u
        if name.endswith("running_var"):
            return 1 + 0.1 * u
        if len(shape) >= 2:
            return u * spread
        if name.endswith("weight"):
            return 1 + 0.1 * u
        return 0.1 * u

    def compare(self, stage, tensor):
        """Assert that ``tensor`` has the numbers of a stage, given by its name or its entry in the pack."""
        expected = stage
        if isinstance(stage, str):
            expected = self.data["stages"][stage]
        name = stage if isinstance(stage, str) else "the stage"
        if isinstance(expected, list):  # one summary per element of the batch
            assert len(expected) == len(tensor), f"{name}: {len(tensor)} elements in the batch, not {len(expected)}"
            for index, summary in enumerate(expected):
                compare_summary(f"{name}[{index}]", tensor[index], summary)
        else:
            compare_summary(name, tensor, expected)


def compare_summary(name, tensor, expected):
    """Assert that shape, sum, norm and the sampled values of ``tensor`` are the expected ones."""
    tensor = tensor.detach().double().cpu()
    if "shape" in expected:
        assert list(tensor.shape) == expected["shape"], name
    flat = tensor.flatten()
    values = torch.tensor(expected["values"], dtype=torch.float64).flatten()
    picked = flat[torch.tensor(expected["at"])] if "at" in expected else flat
    torch.testing.assert_close(picked, values, rtol=RTOL, atol=ATOL, msg=lambda text: f"{name}: {text}")
    # Upper bound of the accumulated errors of single elements within the tolerance.
    slack = (ATOL + RTOL * flat.abs()).sum().item()
    for key, number, bound in (("sum", flat.sum(), slack), ("l2", flat.norm(), flat.numel() ** 0.5 * ATOL)):
        if key in expected:
            error = abs(number.item() - expected[key])
            assert error <= bound + RTOL * abs(expected[key]), f"{name}: {key} {number.item()}, not {expected[key]}"


def image(batch, height, width, phase=0.0, mask=None):
    """Return the images of the packs ``(batch, 3, height, width)``; padded pixels are 0."""
    b, c, y, x = (
        torch.arange(n, dtype=torch.float64).reshape([-1 if i == dim else 1 for i in range(4)])
        for dim, n in enumerate((batch, 3, height, width))
    )
    pixels = torch.sin(0.11 * x + 0.17 * y + 1.3 * c + 0.7 * b + phase)
    pixels = pixels + 0.5 * torch.cos(0.0021 * x * y + c - 0.4 * b + phase)
    return pixels if mask is None else pixels.masked_fill(mask[:, None], 0)


def padding(batch, height, width, rule):
    """Return the padding mask ``(batch, height, width)`` of a rule such as "rows >= 112 and columns >= 136"."""
    matches = list(re.finditer(r"(?:frame (\d+): [^;]*?)?rows >= (\d+) and columns >= (\d+)", rule))
    assert matches, f"no padding in {rule!r}"
    mask = torch.zeros(batch, height, width, dtype=torch.bool)
    for match in matches:
        frame, rows, columns = (int(number or 0) for number in match.groups())
        mask[frame, rows:] = True
        mask[frame, :, columns:] = True
    return mask


def clip_image(rule, time):
    """Return frame ``time`` of a rule such as "frame t: image rule with phase 0+0.05t, 128x160"."""
    match = re.search(r"phase ([\d.]+)\+([\d.]+)t, (\d+)x(\d+)", rule)
    assert match, f"no clip in {rule!r}"
    return image(1, int(match[3]), int(match[4]), float(match[1]) + float(match[2]) * time)


def numbers(pattern, text):
    """Return the numbers that the groups of a pattern match in a rule of a pack."""
    match = re.search(pattern, text)
    assert match, f"no {pattern!r} in {text!r}"
    return [float(group) for group in match.groups()]


def scripted_detections(pack, rules, width):
    """Yield embeddings, scores and horizontal centers of the detections of each frame that ``rules`` describe."""
    text = rules["inputs"]
    frames, objects = (int(n) for n in numbers(r"t=0\.\.(\d+), detections j=0\.\.(\d+)", text))
    a, k, b, m, by_t = numbers(r"([\d.]+)\*u\(n,k=(\d+)\+j\) \+ ([\d.]+)\*u\(n,k=(\d+)\+(\d+)t\+j\)", text)
    low, span, t_step, j_step, modulus, divisor = numbers(
        r"score = ([\d.]+)\+([\d.]+)\*\(\(\((\d+)t\+(\d+)j\) mod (\d+)\)/(\d+)\)", text
    )
    left, step = numbers(r"box cxcywh = \(([\d.]+)\+([\d.]+)j", text)
    js = torch.arange(objects + 1)
    for t in range(frames + 1):
        rows = [
            a * pack.filled(int(k) + j, width) + b * pack.filled(int(m) + int(by_t) * t + j, width)
            for j in range(objects + 1)
        ]
        scores = low + span * (((t_step * t + j_step * js) % modulus) / divisor).double()
        yield torch.stack(rows), scores, left + step * js.double()


@functools.cache
def read_pack(folder, name):
    """Return a pack by its name, reading it once."""
    return Pack(folder / f"{name}.json")
