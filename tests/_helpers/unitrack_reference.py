"""Reference implementation of docs/methods/unitrack.md in plain loops over clips, windows, frames and objects."""

import itertools
import math

import numpy as np

DEFAULTS = {
    "window": 5,
    "alpha": 0.9,
    "tau": 0.1,
    "null": None,
    "flow_form": "log",
    "weights": "laplacian",
    "eps_lambda": 0.05,
    "spatial_sigma": 0.1,
    "confidence_threshold": 0.5,
    "log_norm": True,
    "max_gap": 1,
    "gate_confidence": True,
    "flow_weight": 1.0,
    "spatial_weight": 1.0,
    "temporal_weight": 1.0,
    "conservation_weight": 1.0,
}


def reference(clip, **settings):
    """Compute all outputs of the loss for a :class:`TrackClip` by name."""
    wanted = {**DEFAULTS, **settings}
    per_clip = []
    for row in range(len(clip.logits)):
        one = read(clip, row)
        last = max(len(one["frames"]) - wanted["window"], 0)
        found = [window(one, start, wanted) for start in range(last + 1)]
        found = [numbers for numbers in found if numbers is not None]
        if found:
            per_clip.append({name: sum(numbers[name] for numbers in found) / len(found) for name in found[0]})
    names = per_clip[0] if per_clip else ["total", "flow", "spatial", "temporal", "conservation"]
    return {name: sum(one[name] for one in per_clip) / max(len(per_clip), 1) for name in names}


def read(clip, row):
    """Convert one clip to lists without padding; every detection has its row."""
    frames = []
    for t in range(clip.logits.shape[1]):
        detections = [
            {
                "row": n,
                "box": clip.boxes_xyxy[row, t, n].double().tolist(),
                "logit": float(clip.logits[row, t, n]),
                "id": int(clip.det_gt[row, t, n]),
                "embed": None if clip.embed is None else clip.embed[row, t, n].double().numpy(),
            }
            for n in range(clip.logits.shape[2])
            if clip.valid[row, t, n]
        ]
        objects = {
            int(clip.gt_ids[row, t, m]): clip.gt_boxes_xyxy[row, t, m].double().tolist()
            for m in range(clip.gt_ids.shape[2])
            if clip.gt_ids[row, t, m] >= 0
        }
        frames.append({"detections": detections, "objects": objects})
    return {
        "frames": frames,
        "diagonal": math.hypot(*clip.image_size[row].tolist()),
        "stride": 1.0 if clip.frame_stride is None else float(clip.frame_stride[row]),
        "assoc": None if clip.assoc_logits is None else clip.assoc_logits[row].double().numpy(),
    }


def sigmoid(x):
    return math.exp(log_sigmoid(x))


def log_sigmoid(x):
    return min(x, 0) - math.log1p(math.exp(-abs(x)))


def center(box):
    return np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])


def diagonal(box):
    return math.hypot(box[2] - box[0], box[3] - box[1])


def affinity(one, t, a, b, tau):
    """Return the affinity of two detections and that of the null slot."""
    if one["assoc"] is not None:
        return one["assoc"][t, a["row"], b["row"]], 0.0
    if a["embed"] is not None:
        u, v = a["embed"], b["embed"]
        return u @ v / (np.linalg.norm(u) * np.linalg.norm(v)) / tau, 0.5 / tau
    sigma = 0.25
    distance = ((center(a["box"]) - center(b["box"])) ** 2).sum()
    heights = (a["box"][3] - a["box"][1]) / (b["box"][3] - b["box"][1])
    near = distance / (2 * sigma**2 * diagonal(a["box"]) * diagonal(b["box"]))
    return -near - math.log(heights) ** 2 / (2 * sigma**2), -4.0


def log_softmax(values, index):
    top = max(values)
    return values[index] - top - math.log(sum(math.exp(value - top) for value in values))


def flow_between(one, t, settings, gap=1):
    """Return ``log F[i, j]`` of frames ``t`` and ``t + gap``."""
    before, after = one["frames"][t]["detections"], one["frames"][t + gap]["detections"]
    table = [[affinity(one, t, a, b, settings["tau"]) for b in after] for a in before]
    flows = {}
    for i, j in itertools.product(range(len(before)), range(len(after))):
        nobody = table[i][j][1] if settings["null"] is None else settings["null"]
        row = [table[i][k][0] for k in range(len(after))] + [nobody]
        column = [table[k][j][0] for k in range(len(before))] + [nobody]
        gate = log_sigmoid(before[i]["logit"]) + log_sigmoid(after[j]["logit"]) if settings["gate_confidence"] else 0
        flows[i, j] = gate + log_softmax(row, j) + log_softmax(column, i)
    return flows


def window(one, start, settings):
    """Return the outputs of one window, or None without a pair of detections."""
    frames = one["frames"][start : start + settings["window"]]
    count, stride = len(frames), one["stride"]
    detections = [frame["detections"] for frame in frames]
    objects = [frame["objects"] for frame in frames]
    log_flows = [flow_between(one, start + t, settings) for t in range(count - 1)]
    flows = [{pair: math.exp(value) for pair, value in table.items()} for table in log_flows]
    edges = [
        (t, i, j)
        for t in range(count - 1)
        for i, a in enumerate(detections[t])
        for j, b in enumerate(detections[t + 1])
        if a["id"] == b["id"] >= 0
    ]
    candidates = sum(len(detections[t]) * len(detections[t + 1]) for t in range(count - 1))
    if not candidates:
        return None

    predicted = false = missed = total_objects = 0
    for t in range(count):
        confident = [one for one in detections[t] if sigmoid(one["logit"]) > settings["confidence_threshold"]]
        predicted += len(confident)
        false += sum(one["id"] == -1 for one in confident)
        total_objects += len(objects[t])
        missed += sum(identity not in [one["id"] for one in confident] for identity in objects[t])
    quality = math.exp(-settings["alpha"] * (false / max(predicted, 1) + missed / max(total_objects, 1)))

    right = [log_flows[t][i, j] for t, i, j in edges]
    for t, gap in itertools.product(range(count), range(2, settings["max_gap"] + 1)):
        if t + gap >= count:
            continue
        longer = flow_between(one, start + t, settings, gap)
        for (i, a), (j, b) in itertools.product(enumerate(detections[t]), enumerate(detections[t + gap])):
            between = [other["id"] for step in range(1, gap) for other in detections[t + step]]
            if a["id"] == b["id"] >= 0 and a["id"] not in between:
                right.append(longer[i, j])
    if settings["flow_form"] == "log":
        along = [-value for value in right]
        flow_term = 1 - quality + quality * (sum(along) / len(along) if along else 0)
    else:
        along = [math.exp(value) for value in right]
        flow_term = 1 - quality * (sum(along) / len(along) if along else 1)

    residuals, spatial, temporal = [], [], []
    for t in range(count):
        for i, here in enumerate(detections[t]):
            after = {j: flows[t][i, j] for j in range(len(detections[t + 1]))} if t < count - 1 else {}
            before = {k: flows[t - 1][k, i] for k in range(len(detections[t - 1]))} if t else {}
            goes_on = any((t, i) == (edge[0], edge[1]) for edge in edges)
            came = any((t - 1, i) == (edge[0], edge[2]) for edge in edges)
            out, into = sum(after.values()), sum(before.values())
            residuals.append(((out - goes_on) ** 2 + (into - came) ** 2) / 2)
            if goes_on:
                truth = objects[t + 1][here["id"]]
                spatial.append(
                    sum(
                        share * distance(center(detections[t + 1][j]["box"]), center(truth), diagonal(truth))
                        for j, share in after.items()
                    )
                )
            if goes_on and came:
                position = center(here["box"])
                successor = sum(s * center(detections[t + 1][j]["box"]) for j, s in after.items()) / (out + 1e-6)
                predecessor = sum(s * center(detections[t - 1][k]["box"]) for k, s in before.items()) / (into + 1e-6)
                bend = ((successor - position) - (position - predecessor)) / stride
                past, now, future = (center(objects[t + step][here["id"]]) for step in (-1, 0, 1))
                true_bend = ((future - now) - (now - past)) / stride
                size = diagonal(objects[t][here["id"]])
                temporal.append(out * (math.hypot(1, *(bend - true_bend) / size) - 1) / stride)

    numbers = {
        "flow": flow_term,
        "spatial": sum(spatial) / max(len(spatial), 1),
        "temporal": sum(temporal) / max(len(temporal), 1),
        "conservation": sum(residuals) / max(len(residuals), 1),
        "quality": quality,
        "log_edges": math.log(1 + candidates),
    }
    numbers["lambda_s"], numbers["lambda_t"] = lambdas(one["diagonal"], detections, flows, edges, settings)
    total = (
        settings["flow_weight"] * numbers["flow"]
        + settings["spatial_weight"] * numbers["lambda_s"] * numbers["spatial"]
        + settings["temporal_weight"] * numbers["lambda_t"] * numbers["temporal"]
        + settings["conservation_weight"] * numbers["conservation"]
    )
    return {"total": total * (numbers["log_edges"] if settings["log_norm"] else 1), **numbers}


def distance(a, b, size):
    return math.sqrt(((a - b) ** 2).sum() / size**2 + 0.01**2) - 0.01


def lambdas(image_diagonal, detections, flows, edges, settings):
    """Return both weights of a window."""
    if settings["weights"] != "laplacian":
        return (0.5, 0.5) if settings["weights"] == "fixed" else (1.0, 1.0)
    scores = []
    for frame in detections:
        if len(frame) < 2:
            continue
        weights = np.zeros((len(frame), len(frame)))
        for i, j in itertools.permutations(range(len(frame)), 2):
            far = ((center(frame[i]["box"]) - center(frame[j]["box"])) ** 2).sum()
            weights[i, j] = math.exp(-far / (2 * (settings["spatial_sigma"] * image_diagonal) ** 2))
        scores.append(second_eigenvalue(weights) / len(frame))
    spatial = sum(scores) / len(scores) if scores else 1.0
    path = np.zeros((len(detections), len(detections)))
    for t in range(len(detections) - 1):
        right = [flows[s][i, j] for s, i, j in edges if s == t]
        path[t, t + 1] = path[t + 1, t] = sum(right) / len(right) if right else 1.0
    temporal = second_eigenvalue(path) / (2 - 2 * math.cos(math.pi / len(detections)))
    u = 1 / (min(max(spatial, 0), 1) + settings["eps_lambda"])
    v = 1 / (min(max(temporal, 0), 1) + settings["eps_lambda"])
    return u / (u + v), v / (u + v)


def second_eigenvalue(weights):
    return np.linalg.eigvalsh(np.diag(weights.sum(1)) - weights)[1]
