"""Shipped sweep files: their values reach the trainings, and no grid contains the same training twice."""

import pytest
import yaml

from em_kalman import NeuralKalmanFilter, save_model
from mot_core.cli.fit.configs import find_configs, shipped_configs
from mot_core.cli.sweep.space import read_sweep

FILES = shipped_configs("sweeps")
WEIGHTS = {"motip_weights", "motr_weights", "unitrack_weight", "fdta_weights", "lamotr_weight", "em_kalman_weight"}


def first_point(sweep):
    """The smallest value of every parameter, which is a weight of 0 if there is one."""
    return {
        one.name: min(one.values) if one.values else int(one.low) if one.kind == "int_uniform" else one.low
        for one in sweep.dimensions
    }


def test_a_sweep_of_the_loss_weights_of_every_method_ships():
    assert set(FILES) >= WEIGHTS


@pytest.mark.parametrize("name", FILES)
def test_values_reach_the_training(name, tmp_path, monkeypatch):
    pytest.importorskip("lightning")
    from fdta_adapters.lightning import FDTACallback
    from mot_core.callbacks import PluginCallback
    from mot_core.cli.fit.command import TrainingCLI
    from mot_core.cli.fit.quiet import quiet_lightning
    from mot_core.cli.fit.registered import import_registered

    monkeypatch.chdir(tmp_path)
    for variable in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):  # Lightning sets them
        monkeypatch.setenv(variable, "0")
    save_model(NeuralKalmanFilter(), "em_kalman.ckpt")
    import_registered()
    monkeypatch.setattr(TrainingCLI, "_run_subcommand", lambda *_: None)
    sweep = read_sweep(name)
    point = first_point(sweep)
    arguments = find_configs(sweep.argv(point)[1:])
    with quiet_lightning():
        cli = TrainingCLI("fit", [*arguments, "--trainer.logger=null"])
    written = yaml.safe_load(cli._texts[cli.folder / "config.yaml"])
    for parameter, value in point.items():
        at = written
        for key in parameter.split("."):
            at = at[-1]["init_args"][key] if isinstance(at, list) else at[key]
        assert at == pytest.approx(value), parameter
    for callback in cli.trainer.callbacks:
        if isinstance(callback, PluginCallback | FDTACallback):
            callback.setup(cli.trainer, cli.model, "fit")
    cli.model.setup("fit")  # raises an error if a plug-in does not fit the tracker


@pytest.mark.parametrize("name", [name for name in FILES if read_sweep(name).method == "grid"])
def test_no_training_occurs_twice(name):
    """At weight 0 a plug-in does nothing, so that its other arguments make no difference."""
    points = read_sweep(name).grid()
    effective = [
        frozenset(
            (key, value)
            for key, value in point.items()
            if not (point.get("trainer.callbacks.weight") == 0 and key.startswith("trainer.callbacks."))
        )
        for point in points
    ]
    assert len(set(effective)) == len(points)
