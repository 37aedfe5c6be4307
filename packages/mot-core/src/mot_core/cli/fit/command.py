"""``mot fit|validate|test|predict``: LightningCLI with the classes, configs and folders of mot-core."""

from __future__ import annotations

import os
import shlex
import sys
from argparse import ArgumentError, RawDescriptionHelpFormatter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from mot_core.callbacks import MemoryEstimate, ResultsWriter
from mot_core.cli import TRAINING
from mot_core.cli.fit.callbacks import EpochLines, Interruption, LastCheckpoint, ModelTable, Notes, WriteFirst
from mot_core.cli.fit.checkpoint_io import CheckpointFiles, with_checkpoint_files
from mot_core.cli.fit.configs import find_configs
from mot_core.cli.fit.errors import first_reason, in_one_sentence
from mot_core.cli.fit.folder import newest_checkpoint, next_version
from mot_core.cli.fit.loggers import LogSettings, assign_run, finished_runs, project_name, with_csv
from mot_core.cli.fit.quiet import quiet_lightning
from mot_core.cli.fit.registered import import_registered
from mot_core.cli.fit.suggestion import folder_as_config
from mot_core.cli.fit.weights import load_weights, short_report
from mot_core.cli.parser import version
from mot_core.cli.track.images import choose_resize
from mot_core.data import ClipDataModule
from mot_core.extras import needs
from mot_core.io.atomic import remove_stale
from mot_core.trackers import Tracker

with needs("jsonargparse", "train", "training"), needs("lightning", "train", "training"):
    from jsonargparse import DefaultHelpFormatter
    from lightning import Callback, LightningDataModule, LightningModule, Trainer
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
    from lightning.pytorch.loggers import Logger

BASES: dict[str, type] = {
    "model": LightningModule,
    "data": LightningDataModule,
    "trainer.callbacks": Callback,
    "trainer.logger": Logger,
}
NUMBER = int | float | None
STRICT = {"exit_on_error": False, "allow_abbrev": False}
EXAMPLES = {
    "fit": """\
  mot fit --data street                      a folder of sequences: proposes a config, prints it and trains with it
  mot fit --config motip_synthetic --output runs/first
  mot fit --config motip_synthetic --output runs/first --ckpt_path last
  mot fit --config motip_dancetrack --data.train DanceTrack/train --data.val DanceTrack/val --init motip.pth
  mot fit --config motip_synthetic --trainer.max_epochs 1 --print_config
""",
    "validate": """\
  mot validate --ckpt_path last.ckpt --data MOTDataModule --data.val DanceTrack/val
""",
    "test": """\
  mot test --ckpt_path last.ckpt --data MOTDataModule --data.test DanceTrack/val --output out
  mot eval out --gt DanceTrack/val
""",
    "predict": """\
  mot predict --ckpt_path last.ckpt --data MOTDataModule --data.predict DanceTrack/test --output out
""",
}


def run(command: str, arguments: Sequence[str]) -> int:
    """Run ``mot fit``, ``validate``, ``test`` or ``predict``.

    Args:
        command: Name of the subcommand.
        arguments: Command-line arguments after the subcommand.

    Raises:
        ValueError: If configs, flags, data or weights are invalid.
        KeyboardInterrupt: If the run was interrupted; the message states how to resume.
    """
    if os.getcwd() not in sys.path:  # makes the user's own classes importable, as `python -m` does
        sys.path.append(os.getcwd())
    import_registered()
    with ExitStack() as stack:
        stack.enter_context(quiet_lightning())
        stack.enter_context(finished_runs())
        if command == "fit":
            arguments, proposal = stack.enter_context(folder_as_config(arguments))
            print(proposal, end="", file=sys.stderr, flush=True)
        TrainingCLI(command, find_configs(arguments))
    return 0


class Help(DefaultHelpFormatter):
    """Help formatter that keeps the line breaks of the examples."""

    _fill_text = RawDescriptionHelpFormatter._fill_text


class TrainingCLI(LightningCLI):
    """Parser and runner of one subcommand.

    ``fit`` writes into a new folder ``OUTPUT/version_N``; the other commands write result files into ``OUTPUT``.

    Args:
        command: Name of the subcommand.
        arguments: Command-line arguments after the subcommand.
    """

    def __init__(self, command: str, arguments: Sequence[str]) -> None:
        self._command = command
        self._arguments = list(arguments)
        super().__init__(
            LightningModule,
            LightningDataModule,
            save_config_callback=None,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            parser_kwargs={
                "prog": "mot",
                "formatter_class": Help,
                **STRICT,
                command: {
                    **STRICT,
                    "usage": f"mot {command} [--config NAME|FILE ...] [--KEY VALUE ...]",
                    "description": f"{TRAINING[command].capitalize()}.",
                    "epilog": f"examples:\n{EXAMPLES[command]}",
                },
            },
            args=[command, *arguments],
        )

    # Arguments.

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # a static method in Lightning
        """Return only the subcommand to run, because building a parser for each is slow."""
        return {self._command: LightningCLI.subcommands()[self._command]}

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add Trainer, model and data; the model is optional because a checkpoint may hold it."""
        parser.add_lightning_class_args(Trainer, "trainer")
        # typing caches equal unions, possibly with float first: limit_train_batches 1 would become 1.0 (all).
        for action in parser._actions:
            if getattr(action, "_typehint", None) == NUMBER:
                action._typehint = NUMBER  # type: ignore[attr-defined]
        parser.add_lightning_class_args(LightningModule, "model", subclass_mode=True, required=False)
        parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True, required=False)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``--init`` and ``--output``."""
        content = "result files"
        if self._command == "fit":
            content = "checkpoints, metrics and config; each run gets its own subfolder version_N"
            parser.add_argument(
                "--init",
                metavar="FILE",
                type=str,
                help="initial weights: a checkpoint, or weights released by other projects",
            )
        parser.add_argument("--output", metavar="DIR", default=f"runs/{self._command}", help=f"folder for {content}")

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser.set_defaults({"weights_only": True})  # no code in a checkpoint is executed
        if subcommand == "test":
            parser.set_defaults({"verbose": False})  # ResultsWriter prints the scores of every sequence
        if subcommand == "predict":
            parser.set_defaults({"return_predictions": False})  # ResultsWriter writes them to files
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse ``args``, without Lightning's warning about arguments that differ from ``sys.argv``."""
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            if os.environ.get("MOT_DEBUG"):
                raise
            keys = [action.dest for action in self._parser(self._command)._actions]
            sentence = in_one_sentence(str(error), keys, BASES)
            print(f"mot {self._command}: error: {sentence} (see mot {self._command} --help)", file=sys.stderr)
            sys.exit(2)

    def _parse_ckpt_path(self) -> None:
        """Check ``--output`` and ``--ckpt_path``, and resolve ``--ckpt_path last`` to the newest checkpoint."""
        given = self.config[self._command]
        if not given.output:
            raise ValueError("--output: expected a folder, got an empty name")
        if given.ckpt_path == "last":
            given.ckpt_path = str(newest_checkpoint(Path(given.output)))
        elif given.ckpt_path and not Path(given.ckpt_path).is_file():
            raise FileNotFoundError(f"--ckpt_path: expected an existing checkpoint file, got {given.ckpt_path}")

    # Instances.

    def instantiate_classes(self) -> None:
        """Build the data, the model and the Trainer."""
        given = self.config[self._command]
        self.folder = next_version(Path(given.output)) if self._command == "fit" else Path(given.output)
        recipe = self._recipe()
        self._texts = {self.folder / "config.yaml": recipe}
        if self._command == "fit":
            self._settings = yaml.safe_load(recipe)
            model = getattr(given.get("model"), "class_path", "mot")
            assign_run(given.trainer.logger, self.folder, project_name(given.get("config") or [], model))
        try:
            self.config_init = self.parser.instantiate_classes(self.config)
        except (ValueError, TypeError) as error:
            raise ValueError(first_reason(str(error))) from error
        self.datamodule = self._get(self.config_init, "data")
        if self.datamodule is None:
            raise ValueError("--data: expected a data module, got none; add --data, or a --config that defines data")
        self.model = self._get(self.config_init, "model") or self._recorded(given.ckpt_path)
        if self._command == "fit":
            remove_stale(Path(given.output), "version_*/**/.*.tmp")
            if given.init:
                report = load_weights(self.model, given.init)
                self._texts[self.folder / "init.txt"] = f"{given.init}\n{report}\n"
                print(f"mot: weights of {given.init}: {short_report(report)}", file=sys.stderr)
        elif not given.ckpt_path and isinstance(self.model, Tracker):
            raise ValueError("--ckpt_path: expected the checkpoint of a trained tracker, got none; add the file")
        elif isinstance(self.model, Tracker) and isinstance(self.datamodule, ClipDataModule):
            recorded = self.model.resize  # None unless the tracker was built from its checkpoint
            if recorded is not None and self.datamodule.keeps_size:
                self.datamodule.resize = choose_resize(None, recorded, Path(given.ckpt_path))
        self.trainer = self.instantiate_trainer()

    def _recorded(self, path: str | None) -> Tracker:
        """Build the tracker that the checkpoint describes, for commands without a model."""
        if path is None:
            raise ValueError(
                "--model: expected a model, got none; add --model, a --config with a model, or --ckpt_path"
            )
        tracker = Tracker.from_checkpoint(path)
        if self._command == "fit":
            tracker.train()  # Lightning loads the weights again, with the optimizer state
        else:
            self.config_init[self._command]["ckpt_path"] = None
        return tracker

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the Trainer, with default folder, checkpoints and progress bar unless the config overrides them."""
        config = dict(self._get(self.config_init, "trainer"))
        for name in ("accumulate_grad_batches", "check_val_every_n_epoch", "log_every_n_steps"):
            least = 0 if name == "log_every_n_steps" else 1
            if config[name] is not None and config[name] < least:
                raise ValueError(f"--trainer.{name}: expected at least {least}, got {config[name]}")
        files = CheckpointFiles(self.config[self._command].ckpt_path, resume=self._command == "fit")
        config["plugins"] = with_checkpoint_files(config["plugins"], files)
        config["default_root_dir"] = config["default_root_dir"] or str(self.folder)
        if config["enable_progress_bar"] is None:
            config["enable_progress_bar"] = sys.stderr.isatty()
        callbacks: list[Callback] = [WriteFirst(self._texts), Notes()]
        if self._command == "fit":
            config["logger"] = with_csv(config["logger"], self.folder)
            callbacks.append(LogSettings(self._settings))
            if config["enable_checkpointing"] is not False:
                # One file; add a ModelCheckpoint that monitors a metric to keep the best checkpoints too.
                callbacks.append(LastCheckpoint(self.folder / "checkpoints" / "last.ckpt"))
            callbacks.append(Interruption(self.folder / "checkpoints" / "last.ckpt"))
            if isinstance(self.model, Tracker):
                callbacks.append(MemoryEstimate())
            if config["enable_model_summary"] is None:
                config["enable_model_summary"] = False
                callbacks.append(ModelTable())
            if not config["enable_progress_bar"]:
                callbacks.append(EpochLines(self.folder))
        elif config["logger"] is None:
            config["logger"] = False
        if self._command in ("test", "predict") and isinstance(self.model, Tracker):
            given = config["callbacks"] or []
            if not any(isinstance(one, ResultsWriter) for one in (given if isinstance(given, list) else [given])):
                callbacks.append(ResultsWriter(self.folder))
        return self._instantiate_trainer({**config, **kwargs}, callbacks)

    def _recipe(self) -> str:
        """Return the config as YAML, valid for all four commands, without the paths of this run."""
        recipe = self.config[self._command].clone()
        for name in ("output", "ckpt_path", "init"):
            recipe.pop(name, None)
        text = self._parser(self._command).dump(recipe, skip_none=False, skip_validation=True)
        return f"# mot-core {version()}: mot {shlex.join([self._command, *self._arguments])}\n{text}"
