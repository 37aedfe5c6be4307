"""Reference of the identity flow and the capacity term in plain loops over clips, frames and detections."""

import math

import numpy as np


def nodes_of(clip, row):
    """Return the detections of every frame as dictionaries, padding left out."""
    box = clip.boxes_xyxy[row].detach().double().numpy()
    frames = []
    for t in range(clip.logits.shape[1]):
        found = []
        for n in range(clip.logits.shape[2]):
            if not clip.valid[row, t, n]:
                continue
            found.append(
                {
                    "row": n,
                    "id": int(clip.det_gt[row, t, n]),
                    "box": box[t, n],
                    "center": (box[t, n, :2] + box[t, n, 2:]) / 2,
                    "logit": float(clip.logits[row, t, n]),
                    "e": None if clip.embed is None else clip.embed[row, t, n].detach().double().numpy(),
                }
            )
        frames.append(found)
    return frames


def variances(clips):
    """Return the variance of every gap in a batch (or those of several processes)."""
    total, count = {}, {}
    for frames in clips:
        for s, one in enumerate(frames):
            for t, other in enumerate(frames):
                for i in one:
                    for j in other:
                        if s != t and i["id"] == j["id"] >= 0:
                            gap = abs(s - t)
                            total[gap] = total.get(gap, 0) + float(((i["center"] - j["center"]) ** 2).sum())
                            count[gap] = count.get(gap, 0) + 1
    weighted = sum(gap * number for gap, number in count.items())
    longest = max((len(frames) for frames in clips), default=0)
    found = {}
    for gap in range(1, longest):
        if count.get(gap, 0) >= 8:
            value = total[gap] / (2 * count[gap])
        else:
            value = gap * sum(total.values()) / (2 * weighted) if weighted else 0
        found[gap] = max(value, 1)
    return found


def identity_reference(clip, edges="all", odds="none", rivals="batch", tau=0.1, null=None):
    """Return the identity flow, and the share of edges that it finds: of all and of far ones, then for the nearest."""
    clips = [nodes_of(clip, row) for row in range(len(clip.logits))]
    spread = variances(clips)
    losses, rights = [], {"right": [], "far_right": [], "near": [], "far_near": []}
    for row, frames in enumerate(clips):
        area = float(clip.image_size[row].prod())
        loss = []
        for s, one in enumerate(frames):
            for t, other in enumerate(frames):
                gap = abs(s - t)
                if gap == 0 or (gap > 1 and (edges == "adjacent" or clip.assoc_logits is not None)):
                    continue
                for i in one:
                    if i["id"] < 0:
                        continue
                    alternatives, target = [], None
                    for j in other:
                        if j["id"] < 0:
                            continue
                        value = similarity(clip, row, s, t, i, j, tau)
                        if odds == "place":
                            far = float(((i["center"] - j["center"]) ** 2).sum())
                            place = math.log(area / (2 * math.pi * spread[gap])) - far / (2 * spread[gap])
                            value += min(max(place, -8), 8)
                        if j["id"] == i["id"]:
                            target = value
                        else:
                            alternatives.append(value)
                    default = 0.0 if clip.assoc_logits is not None else 0.5 / tau
                    nobody = default if null is None else null
                    if target is None:
                        target = nobody
                    else:
                        alternatives.append(nobody)
                    if rivals != "none" and clip.assoc_logits is None:
                        alternatives += [cosine(i, k) / tau for k in one if k["id"] >= 0 and k["row"] != i["row"]]
                    rated = list(alternatives)
                    if rivals == "batch" and clip.assoc_logits is None:
                        for number, video in enumerate(clips):
                            if video_of(clip, number) != video_of(clip, row):
                                alternatives += [cosine(i, k) / tau for f in video for k in f if k["id"] >= 0]
                    loss.append(math.log1p(sum(math.exp(value - target) for value in alternatives)))
                    distance = {j["id"]: ((i["center"] - j["center"]) ** 2).sum() for j in other if j["id"] >= 0}
                    if i["id"] not in distance:
                        continue
                    own = distance.pop(i["id"])
                    for far in ("", "far_") if gap > 1 else ("",):
                        rights[f"{far}right"].append(all(target > value for value in rated))
                        rights[f"{far}near"].append(all(own < value for value in distance.values()))
        if loss:
            losses.append(np.mean(loss))
    return (np.mean(losses) if losses else 0.0), *(np.mean(some) if some else 0.0 for some in rights.values())


def video_of(clip, row):
    return row if clip.video is None else int(clip.video[row])


def similarity(clip, row, s, t, i, j, tau):
    if clip.assoc_logits is not None:
        if s < t:
            return float(clip.assoc_logits[row, s, i["row"], j["row"]])
        return float(clip.assoc_logits[row, t, j["row"], i["row"]])
    return cosine(i, j) / tau


def cosine(i, j):
    return float(i["e"] @ j["e"] / (np.linalg.norm(i["e"]) * np.linalg.norm(j["e"])))


def capacity_reference(clip):
    """Return the capacity term."""
    per_clip = []
    for row in range(len(clip.logits)):
        loss = []
        for t, frame in enumerate(nodes_of(clip, row)):
            for i in frame:
                if i["id"] < 0:
                    continue
                place = clip.gt_ids[row, t].tolist().index(i["id"])
                box = clip.gt_boxes_xyxy[row, t, place].double().numpy()
                logits = [k["logit"] for k in frame if k["id"] < 0 and overlap(k["box"], box) >= 0.5]
                loss.append(math.log1p(sum(math.exp(logit - i["logit"]) for logit in logits)))
        if loss:
            per_clip.append(np.mean(loss))
    return np.mean(per_clip) if per_clip else 0.0


def overlap(a, b):
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = max(sides[0], 0) * max(sides[1], 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
