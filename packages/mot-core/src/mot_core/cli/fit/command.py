"""``mot fit|validate|test|predict``: LightningCLI with our classes, our configs and our folders."""

from __future__ import annotations

import os
import shlex
import sys
from argparse import ArgumentError, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mot_core.callbacks import MemoryEstimate, ResultsWriter
from mot_core.cli import TRAINING
from mot_core.cli.fit.callbacks import EpochLines, Interruption, LastCheckpoint, WriteFirst
from mot_core.cli.fit.configs import find_configs
from mot_core.cli.fit.errors import first_reason, in_one_sentence
from mot_core.cli.fit.folder import newest_checkpoint, next_version
from mot_core.cli.fit.quiet import quiet_lightning
from mot_core.cli.fit.registered import import_registered
from mot_core.cli.fit.weights import load_weights, short_report
from mot_core.cli.parser import version
from mot_core.extras import needs
from mot_core.trackers import Tracker

with needs("jsonargparse", "train", "training"), needs("lightning", "train", "training"):
    from jsonargparse import DefaultHelpFormatter
    from lightning import Callback, LightningDataModule, LightningModule, Trainer
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
    from lightning.pytorch.loggers import CSVLogger, Logger

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
        command: which of them.
        arguments: what follows it.

    Raises:
        ValueError: something in configs, flags, data or weights is wrong; a sentence tells what.
        KeyboardInterrupt: it was interrupted; the message tells how to go on.
    """
    if os.getcwd() not in sys.path:  # classes of the user's own, as `python -m` finds them
        sys.path.append(os.getcwd())
    import_registered()
    with quiet_lightning():
        TrainingCLI(command, find_configs(arguments))
    return 0


class Help(DefaultHelpFormatter):
    """Keeps the lines of the examples."""

    _fill_text = RawDescriptionHelpFormatter._fill_text


class TrainingCLI(LightningCLI):
    """One subcommand: parses, builds everything and runs it.

    A training writes into a new folder ``OUTPUT/version_N``; the others write their result files into ``OUTPUT``.

    Args:
        command: name of the subcommand.
        arguments: what follows it.
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

    # What can be given.

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # static there
        """The one that is run: a parser for each would take its time."""
        return {self._command: LightningCLI.subcommands()[self._command]}

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Trainer, model and data; the model may come from the checkpoint."""
        parser.add_lightning_class_args(Trainer, "trainer")
        # typing keeps one of all equal unions, maybe one with float first: limit_train_batches 1 would be 1.0, all.
        for action in parser._actions:
            if getattr(action, "_typehint", None) == NUMBER:
                action._typehint = NUMBER  # type: ignore[attr-defined]
        parser.add_lightning_class_args(LightningModule, "model", subclass_mode=True, required=False)
        parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True, required=False)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What Lightning does not have."""
        what = "result files"
        if self._command == "fit":
            what = "checkpoints, metrics and config, each run in a folder version_N of its own"
            parser.add_argument(
                "--init", metavar="FILE", type=str, help="start from these weights: released ones, or a checkpoint"
            )
        parser.add_argument("--output", metavar="DIR", default=f"runs/{self._command}", help=f"folder for {what}")

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser.set_defaults({"weights_only": True})  # a checkpoint is data: nothing in it is run
        if subcommand == "test":
            parser.set_defaults({"verbose": False})  # ResultsWriter prints the scores, of every sequence
        if subcommand == "predict":
            parser.set_defaults({"return_predictions": False})  # they are in files
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Lightning's warns about arguments beside those of the process."""
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
        """Our checkpoints have a record of their own; the word "last" is the newest one."""
        given = self.config[self._command]
        if given.ckpt_path == "last":
            given.ckpt_path = str(newest_checkpoint(Path(given.output)))
        elif given.ckpt_path and not Path(given.ckpt_path).is_file():
            raise FileNotFoundError(f"checkpoint {given.ckpt_path} does not exist or is not a file")

    # What is built.

    def instantiate_classes(self) -> None:
        """Model, data and Trainer."""
        given = self.config[self._command]
        self.folder = next_version(Path(given.output)) if self._command == "fit" else Path(given.output)
        self._texts = {self.folder / "config.yaml": self._recipe()}
        try:
            self.config_init = self.parser.instantiate_classes(self.config)
        except (ValueError, TypeError) as error:
            raise ValueError(first_reason(str(error))) from error
        self.datamodule = self._get(self.config_init, "data")
        if self.datamodule is None:
            raise ValueError("there is no data: give --data, or a --config that has it")
        self.model = self._get(self.config_init, "model") or self._recorded(given.ckpt_path)
        if self._command == "fit":
            if given.init:
                report = load_weights(self.model, given.init)
                self._texts[self.folder / "init.txt"] = f"{given.init}\n{report}\n"
                print(f"mot: weights of {given.init}: {short_report(report)}", file=sys.stderr)
        elif not given.ckpt_path and isinstance(self.model, Tracker):
            raise ValueError("the tracker is not trained: give --ckpt_path FILE")
        self.trainer = self.instantiate_trainer()

    def _recorded(self, path: str | None) -> Tracker:
        """The tracker in a checkpoint, which is all that is given."""
        if path is None:
            raise ValueError("there is no model: give --model, a --config that has one, or a --ckpt_path")
        tracker = Tracker.from_checkpoint(path)
        if self._command == "fit":
            tracker.train()  # Lightning loads its weights again, and the state of the optimiser
        else:
            self.config_init[self._command]["ckpt_path"] = None
        return tracker

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The Trainer, with folder, checkpoints and bars unless the config says otherwise."""
        config = dict(self._get(self.config_init, "trainer"))
        config["default_root_dir"] = config["default_root_dir"] or str(self.folder)
        if config["enable_progress_bar"] is None:
            config["enable_progress_bar"] = sys.stderr.isatty()
        callbacks: list[Callback] = [WriteFirst(self._texts)]
        if self._command == "fit":
            if config["logger"] is None:
                config["logger"] = CSVLogger(self.folder.parent, name="", version=self.folder.name)
            if config["enable_checkpointing"] is not False:
                # One file; whoever wants the best ones too adds a ModelCheckpoint that monitors something.
                callbacks.append(LastCheckpoint(self.folder / "checkpoints" / "last.ckpt"))
            callbacks.append(Interruption(self.folder / "checkpoints" / "last.ckpt"))
            if isinstance(self.model, Tracker):
                callbacks.append(MemoryEstimate())
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
        """The config, for all four commands: without what belongs to this run only."""
        recipe = self.config[self._command].clone()
        for name in ("output", "ckpt_path", "init"):
            recipe.pop(name, None)
        text = self._parser(self._command).dump(recipe, skip_none=False, skip_validation=True)
        return f"# mot-core {version()}: mot {shlex.join([self._command, *self._arguments])}\n{text}"
