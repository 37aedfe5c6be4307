import json

import pytest

from benchmarks.training import learning, variants


def scores(hota):
    return dict.fromkeys(variants.METRICS, 50.0) | {"HOTA": hota}


@pytest.fixture
def runs(monkeypatch):
    """Replace training and testing by a score that depends on seed and arguments."""
    ran = []

    def run(tracker, seed, folder, videos, more, test_seeds, config):
        ran.append((tracker, seed, folder.name, videos, tuple(more), tuple(test_seeds)))
        return {
            "tracker": "MOTIP",
            "seed": seed,
            "cpu_minutes": 5.0,
            "test": {"recall": 90.0, "trackers": {"MOTIP": scores(60.0 + seed + 2 * len(more))}},
        }

    monkeypatch.setattr(variants, "run", run)
    return ran


def test_variants_run_once_and_are_compared_with_the_first(runs, tmp_path, capsys):
    command = ["--tracker=motip", "--variant", "alone:", "--variant", "two layers: --model.init_args.id_layers 2"]
    command += ["--seeds", "0", "1", "--videos", "3", "--test-seeds", "5", "6", "--processes=1"]
    command += ["--results", str(tmp_path / "lines.jsonl"), "--output", str(tmp_path)]
    for _ in range(2):
        variants.main(command)
    more = ("--model.init_args.id_layers", "2")
    recipe = learning.recipe("motip_synthetic")
    folders = {name: {one[2].rsplit("-", 1)[0] for one in runs if name in one[2]} for name in ("alone", "two_layers")}
    assert all(len(some) == 1 and some.pop().startswith(f"motip-{name}-{recipe}-") for name, some in folders.items())
    assert [(tracker, seed, *rest) for tracker, seed, _, *rest in runs] == [
        ("motip", seed, 3, arguments, (5, 6))
        for seed in (0, 1)
        for name, arguments in (("alone", ()), ("two_layers", more))
    ]
    out = capsys.readouterr().out
    assert "| alone | 2 | 60.5 ± 0.7 (worst 60.0) |" in out
    assert "| *two layers - alone* | 2 | **+4.0** (+4.0 to +4.0; worst +4.0, seed 0) |" in out
    lines = [json.loads(one) for one in (tmp_path / "lines.jsonl").read_text().splitlines()]
    assert [(one["variant"], one["seed"]) for one in lines] == [
        ("alone", 0),
        ("two layers", 0),
        ("alone", 1),
        ("two layers", 1),
    ]


def test_other_arguments_under_the_same_name_run_again(runs, tmp_path, capsys):
    for more in ((), ("--a=1",), ()):
        variants.compare("motip", {"alone": more}, [0], tmp_path / "lines.jsonl", tmp_path, processes=1)
    assert [one[4] for one in runs] == [(), ("--a=1",)]
    assert runs[0][2] != runs[1][2]  # it must not resume from the checkpoint of the first


def test_variants_start_from_the_weights_of_their_seed(runs, tmp_path, capsys, monkeypatch):
    """The start of a seed is trained once, and its checkpoint initializes every variant."""
    started = []

    def train(tracker, seed, folder, more, config):
        started.append((seed, folder.name, tuple(more)))
        return [], tmp_path / f"seed{seed}.ckpt"

    monkeypatch.setattr(variants, "train", train)
    both = {"alone": ("--a=1",), "more": ("--a=2",)}
    for start in (("--detector",), ("--detector",), ("--other",), ()):
        variants.compare("motip", both, [0, 1], tmp_path / "r.jsonl", tmp_path, processes=1, start=start)
    assert [(seed, more) for seed, _, more in started] == [
        (seed, start) for start in (("--detector",), ("--other",)) for seed in (0, 1)
    ]
    assert [one[4] for one in runs[:4]] == [
        (*more, "--init", str(tmp_path / f"seed{seed}.ckpt")) for seed in (0, 1) for more in both.values()
    ]
    assert [one[4] for one in runs[-2:]] == [("--a=1",), ("--a=2",)]
    assert len(runs) == len({(name, seed) for _, seed, name, *_ in runs}) == 12


def test_variant_without_a_colon_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        variants.main(["--tracker=motip", "--variant", "alone", "--results", str(tmp_path / "lines.jsonl")])
    assert "--variant: expected NAME: ARGUMENTS, got 'alone'; put a colon after the name" in capsys.readouterr().err


def test_checksum_depends_on_values_and_not_on_comments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []
    for text in ("a: 1\n", "# why\na: 1  # because\n", "a: 2\n"):
        (tmp_path / "small.yaml").write_text(text)
        found.append(learning.recipe("small.yaml"))
    assert found[0] == found[1] != found[2]
