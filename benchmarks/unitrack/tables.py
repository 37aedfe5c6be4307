"""Tables of docs/unitrack_results.md, between its markers, from ``results/unitrack/*.jsonl``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean

from benchmarks.pages import fill, markdown, spread
from benchmarks.paired import Get, Line, current, differences_row, read
from benchmarks.provenance import RESULTS_FOLDER, ROOT

FOLDER = RESULTS_FOLDER / "unitrack"
ASSOCIATION = FOLDER / "association.jsonl"
IDENTITY_HALF = FOLDER / "identity_half.jsonl"
PAGE = ROOT / "docs" / "unitrack_results.md"
METRICS = ("HOTA", "DetA", "AssA", "IDF1", "MOTA", "IDSW")
LINKS = {
    "embedding_1": "embedding, 1 frame",
    "embedding_5": "embedding, 5 frames",
    "box_1": "box, 1 frame",
    "box_5": "box, 5 frames",
    "same": "cosine of one object",
    "others": "of two objects",
    "confidence": "confidence",
}
ALONE = "alone"
STANDARD = (600, 2400)  # steps and different clips of the main tables
COMPARED = {"UniTrack": "cross-entropy", "both ways and UniTrack": "cross-entropy both ways"}
IOU = "IoU (ByteTrack)"
FORMS = {"sigmoid": "sigmoid", "softmax": "softmax over detections", "chosen on validation": "chosen on validation"}


def refresh(page: Path = PAGE, identity_half: Path = IDENTITY_HALF, association: Path = ASSOCIATION) -> None:
    """Put the tables between the markers of ``page``."""
    fill(page, tables(read(identity_half), read(association)))


def tables(identity_half: Sequence[Line], association: Sequence[Line]) -> dict[str, str]:
    """Return the tables by the names of their markers."""
    return {
        "identity half": render_identity_half([line for line in identity_half if _budget(line) == STANDARD]),
        "efficiency": render_efficiency([line for line in identity_half if line["tracker"].endswith("from scratch")]),
        "association": render_association(association),
        "data sets": render_data_sets(association),
        "ablation": render_ablation(association),
    }


def render_identity_half(lines: Sequence[Line]) -> str:
    """Return, per start, scores with and without the loss, differences, and how well embeddings link objects."""
    parts, lines = [], current(lines, "scene", "steps", "videos")
    for name in sorted({line["tracker"] for line in lines}):
        own = [line for line in lines if line["tracker"] == name]
        variants = {one: [line for line in own if line["variant"] == one] for one in _names(own, "variant")}
        scores: dict[str, Get] = {
            metric: lambda line, metric=metric: line["test"]["trackers"][line["tracker"]][metric]  # type: ignore[misc]
            for metric in METRICS
        }
        linked: dict[str, Get] = {
            title: lambda line, key=key: 100 * line["links"][key]  # type: ignore[misc]
            for key, title in LINKS.items()
        }
        linked["CPU minutes"] = lambda line: line["cpu_minutes"]
        for getters in (scores, linked):
            rows = [_row(one, len(some), getters, some) for one, some in variants.items()]
            for one, some in variants.items():
                if one != ALONE and ALONE in variants:
                    rows.append(differences_row(f"{one} - {ALONE}", some, variants[ALONE], getters))
            parts.append(markdown((f"**{name}**", "seeds", *getters), rows))
    return "\n\n".join(parts)


def render_efficiency(lines: Sequence[Line]) -> str:
    """Return scores with and without the loss by the number of steps and of different clips."""
    scores: dict[str, Get] = {
        metric: lambda line, metric=metric: line["test"]["trackers"][line["tracker"]][metric]  # type: ignore[misc]
        for metric in ("HOTA", "IDF1", "IDSW")
    }
    rows = []
    for steps, clips in sorted({_budget(line) for line in lines}, key=lambda budget: (budget[1] / budget[0], budget)):
        for variant in (ALONE, "UniTrack"):
            own = [line for line in lines if _budget(line) == (steps, clips) and line["variant"] == variant]
            if own:
                rows.append((str(steps), str(clips), *_row(variant, len(own), scores, own)))
    return markdown(("steps", "different clips", "", "seeds", *scores), rows) if rows else "Not measured yet."


def _budget(line: Line) -> tuple[int, int]:
    return line["steps"], line["clips"]


def render_association(lines: Sequence[Line]) -> str:
    """Return means over data sets and reduced frame rates, with differences, per form of the association."""
    parts = []
    getters = _getters(lines, lambda group: group.startswith("mean/") and not group.endswith("/1"))
    for form, title in FORMS.items():
        own = {name: some for name in _names(_main(lines), "name") if (some := _of(lines, name, form))}
        rows = [_row(name, len(some), getters, some) for name, some in own.items()]
        for name, other in COMPARED.items():
            if name in own and other in own:
                rows.append(differences_row(f"{name} - {other}", own[name], own[other], getters))
        parts.append(markdown((f"**{title}**", "seeds", *getters), rows))
    return "\n\n".join(parts)


def render_data_sets(lines: Sequence[Line]) -> str:
    """UniTrack compared with the row-wise cross-entropy: differences per data set and frame rate."""
    groups = [group for group in (lines[0]["test"] if lines else ()) if not group.startswith("mean/")]
    rows = []
    for group in groups:
        data, stride = group.split("/")
        getters = _getters(lines, lambda one, group=group: one == group)  # type: ignore[misc]
        pair = [_both_forms(lines, name) for name in ("UniTrack", COMPARED["UniTrack"])]
        rows.append(
            differences_row(f"{data}, {'every frame' if stride == '1' else f'one in {stride}'}", *pair, getters)
        )
    return markdown((f"UniTrack - {COMPARED['UniTrack']}", "seeds", *getters), rows) if rows else ""


def render_ablation(lines: Sequence[Line]) -> str:
    """Compare every switch with the full loss: differences, averaged over forms, data sets and reduced frame rates."""
    getters = _getters(lines, lambda group: group.startswith("mean/") and not group.endswith("/1"))
    full = _both_forms(lines, "UniTrack")
    main = _names(_main(lines), "name")
    names = [name for name in _names(lines, "name") if name not in main and len(_both_forms(lines, name)) > 0]
    rows = [_row("UniTrack as it is", len(full), getters, full)] if full else []
    rows += [
        differences_row(name, _both_forms(lines, name), full, getters)
        for name in (COMPARED["UniTrack"], *names)
        if full
    ]
    return markdown(("", "seeds", *getters), rows)


def _getters(lines: Sequence[Line], wanted: Callable[[str], bool]) -> dict[str, Get]:
    """Return functions that read each metric from a line, averaged over the groups that ``wanted`` accepts."""
    tests = lines[0]["test"] if lines else {}
    groups = [group for group in tests if wanted(group)]
    metrics = list(tests[groups[0]]) if groups else []
    return {
        metric: lambda line, metric=metric: mean(line["test"][group][metric] for group in groups)  # type: ignore[misc]
        for metric in metrics
    }


def _of(lines: Sequence[Line], name: str, form: str) -> list[Line]:
    return [line for line in lines if line["name"] == name and line["form"] in ("", form)]


def _both_forms(lines: Sequence[Line], name: str) -> list[Line]:
    """Return a line per seed, with scores averaged over both forms."""
    found = {form: {line["seed"]: line for line in _of(lines, name, form)} for form in ("sigmoid", "softmax")}
    merged = []
    for seed in sorted(found["sigmoid"].keys() & found["softmax"].keys()):
        tests = [found[form][seed]["test"] for form in found]
        test = {
            group: {metric: mean(one[group][metric] for one in tests) for metric in tests[0][group]}
            for group in tests[0]
        }
        merged.append({"seed": seed, "test": test})
    return merged


def _main(lines: Sequence[Line]) -> list[Line]:
    """Return the rows of the comparison, without the ablation."""
    return [line for line in lines if line["name"] in (IOU, *COMPARED, *COMPARED.values())]


def _names(lines: Iterable[Line], key: str) -> list[str]:
    return list(dict.fromkeys(line[key] for line in lines))


def _row(name: str, count: int, getters: Mapping[str, Get], lines: Sequence[Line]) -> tuple[str, ...]:
    return (name, str(count), *(spread([get(line) for line in lines]) for get in getters.values()))
