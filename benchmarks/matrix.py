"""Which plug-in works on which tracker: regenerates the tables of ``docs/matrix.md`` from what is installed.

    python -m benchmarks.matrix

The conformance suite, ``tests/integration/test_conformance.py``, trains every pair that the first table calls possible.
"""

from __future__ import annotations

from benchmarks.pages import fill
from benchmarks.provenance import ROOT
from mot_core.association.registry import trainable_trackers
from mot_core.plugins import Plugin, installed_plugins
from mot_core.plugins.negotiation import CAPABILITIES, groups
from mot_core.trackers import Tracker

PAGE = ROOT / "docs" / "matrix.md"
BUILT_IN = {("lamotr", "lamotr"): "built in"}
"""Pairs that exclude each other although the capabilities fit."""
RECIPES = {
    ("unitrack", "MOTR, MOTE"): "motr.md",
    ("unitrack", "TrackFormer"): "trackformer.md",
    ("unitrack", "FairMOT"): "fairmot.md",
    ("unitrack", "ByteTrack"): "bytetrack.md",
    ("unitrack", "GTR"): "gtr.md",
    ("unitrack", "Deformable DETR of Hugging Face"): "hugging_face.md",
    ("unitrack", "torchvision"): "torchvision.md",
    ("fdta_*", "MOTIP, MOTR, ByteTrack, Hugging Face"): "fdta.md",
    ("lamotr", "MOTR, MeMOTR, TrackFormer, detectors"): "lamotr.md",
}
"""Page below ``docs/recipes`` by plug-in and original projects."""


def main() -> None:
    """Write the tables."""
    trackers = trainable_trackers()
    plugins: dict[str, type[Plugin]] = {point.name: point.load() for point in installed_plugins()}
    fill(PAGE, tables(trackers, plugins))


def tables(trackers: dict[str, type[Tracker]], plugins: dict[str, type[Plugin]]) -> dict[str, str]:
    """Return all tables by the names of their markers."""
    pairs = [
        [f"`{plugin.__name__}`", *(cell(name, tracker, plugin) for name, tracker in trackers.items())]
        for plugin in plugins.values()
    ]
    provided = [
        [f"`{name}`", meaning, *("yes" if name in tracker.capabilities else "" for tracker in trackers.values())]
        for name, meaning in CAPABILITIES.items()
    ]
    recipes = [[f"`{plugin}`", project, f"[recipe](recipes/{page})"] for (plugin, project), page in RECIPES.items()]
    titles = [tracker.__name__ for tracker in trackers.values()]
    return {
        "pairs": table(["Plug-in", *titles], pairs),
        "capabilities": table(["Capability", "The tracker", *titles], provided),
        "recipes": table(["Plug-in", "Original projects", "How it attaches"], recipes),
    }


def cell(name: str, tracker: type[Tracker], plugin: type[Plugin]) -> str:
    """Return "yes", or what the tracker lacks for a plug-in."""
    missing = [" or ".join(sorted(group)) for group in groups(plugin) if not group & tracker.capabilities]
    return ", ".join(f"no `{one}`" for one in missing) or BUILT_IN.get((name, plugin.name), "yes")


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table of text."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *rows])


if __name__ == "__main__":
    main()
