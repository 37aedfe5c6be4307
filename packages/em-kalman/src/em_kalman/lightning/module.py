"""The two-stage training as a LightningModule."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from em_kalman.checkpoint import FORMAT, record
from em_kalman.detections.window import WindowBatch
from em_kalman.loss import EMKalmanLoss
from em_kalman.model import NeuralKalmanFilter
from em_kalman.motion.motion_model import MotionModel
from em_kalman.objectives import Objective
from em_kalman.tracking.detection_probability import learn_detection_probability
from em_kalman.training import Schedule, calibrate_dustbin, check_collapse, check_objective, step_values
from mot_core.extras import needs

with needs("lightning", "train", "EMKalmanModule", package="em-kalman"):
    from lightning import LightningModule


class EMKalmanModule(LightningModule):
    """Learns as :func:`em_kalman.fit` does, under a Trainer. Batches are :class:`em_kalman.WindowBatch`.

    Logs the loss, ``nll_per_det``, ``unexplained``, ``assoc_entropy``, ``gate_violations`` and ``dustbin`` under
    ``train/`` and ``val/``. Set ``max_epochs`` of the Trainer to both stages together; gradients are clipped by the
    Trainer. Its checkpoints are models for :func:`em_kalman.load_model` and ``mot track``.

    Args:
        warmup_epochs: epochs of the first stage.
        warmup_lr: learning rate of Adam in the first stage.
        lr: learning rate in the second stage.
        objective: see :func:`em_kalman.frame_loglik`.
        hidden: hidden units of the network.
        q: variance that the velocity gains per frame, in square box heights.
        r: variance of a measured coordinate, in square box heights.
        learn_noise: learn ``q`` and ``r`` too.
        embeddings: also use the cosine of the embeddings of a pair.

    >>> EMKalmanModule(hidden=5).model.network.layers[0].out_features
    5
    """

    def __init__(
        self,
        warmup_epochs: int = 5,
        warmup_lr: float = 3e-2,
        lr: float = 1e-2,
        objective: Objective = "predictive",
        hidden: int = 16,
        q: float = 0.02**2,
        r: float = 0.05**2,
        learn_noise: bool = False,
        embeddings: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.schedule = Schedule(warmup_epochs=warmup_epochs, warmup_lr=warmup_lr, lr=lr)
        motion = MotionModel(q=q, r=r)
        self.model = NeuralKalmanFilter(motion, hidden=hidden, learn_noise=learn_noise, embeddings=embeddings)
        check_objective(self.model, objective)
        self.loss = EMKalmanLoss(objective)
        self._unexplained: list[Tensor] = []
        self._warm = not warmup_epochs

    @property
    def stage(self) -> int:
        """1 in the warm-up, then 2."""
        return 1 if self.current_epoch < self.schedule.warmup_epochs else 2

    def on_train_start(self) -> None:
        """Count after all, where a training was interrupted after its last step: Lightning has no epoch to end then."""
        if self.current_epoch == self.trainer.max_epochs:
            learn_detection_probability(self.model, self._windows())

    def on_train_batch_start(self, batch: WindowBatch, batch_idx: int) -> None:
        """Begin the second stage, where a training was interrupted just before."""
        if self.stage == 2:
            self._begin_second_stage()

    def training_step(self, batch: WindowBatch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        values = step_values(self.model, self.loss, batch, self.stage, self.schedule)
        self._log_all("train", values, batch)
        self._unexplained.append(values["unexplained"])
        # The first stage leaves the dustbin out, but distributed training wants a gradient of everything.
        return values["loss"] + 0 * sum(parameter.sum() for parameter in self.model.parameters())

    def on_train_epoch_end(self) -> None:
        """After the warm-up places the dustbin, and begins anew with another learning rate; then watches.

        Where the training ends, counts how often tracks are found, which the tracker wants to know.

        Raises:
            AssociationCollapse: an epoch after the warm-up explained nothing.
        """
        if self.stage == 2 and self._unexplained:
            # The same on all processes, so that all of them stop.
            found = self.all_gather(torch.stack(self._unexplained).mean())
            check_collapse(torch.as_tensor(found).mean().item(), self.schedule)
        elif self.current_epoch + 1 == self.schedule.warmup_epochs:
            self._begin_second_stage()
        self._unexplained.clear()
        run = self.trainer
        # Not in on_train_end, which comes after the last checkpoint.
        last = self.current_epoch + 1 == run.max_epochs or self.global_step == run.max_steps or run.should_stop
        if last and self._warm:
            learn_detection_probability(self.model, self._windows())

    def validation_step(self, batch: WindowBatch, batch_idx: int) -> None:
        """The likelihood of held-out detections."""
        self._log_all("val", self.loss(self.model(batch), batch), batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        lr = self.schedule.warmup_lr if self.schedule.warmup_epochs else self.schedule.lr
        return torch.optim.Adam(self.parameters(), lr)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what is needed to build the model again."""
        checkpoint[FORMAT] = record(self.model) | {"warm": self._warm}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Know whether the dustbin is in its place."""
        self._warm = checkpoint[FORMAT]["warm"]

    def _begin_second_stage(self) -> None:
        """Place the dustbin, and begin anew with another learning rate; once."""
        if self._warm:
            return
        self._warm = True
        # In an order and in batches of its own: those of the loader are in use.
        batches = DataLoader(self._windows(), self.schedule.batch_size, collate_fn=WindowBatch.stack)
        calibrate_dustbin(self.model, (batch.to(self.device) for batch in batches), self.schedule.quantile)
        for optimizer in self.trainer.optimizers:
            optimizer.state.clear()
            for group in optimizer.param_groups:
                group["lr"] = self.schedule.lr

    def _windows(self) -> Dataset[WindowBatch]:
        loader = self.trainer.train_dataloader
        assert loader is not None
        windows: Dataset[WindowBatch] = loader.dataset
        return windows

    def _log_all(self, prefix: str, values: dict[str, Tensor], batch: WindowBatch) -> None:
        named: dict[str, Any] = {f"{prefix}/{name}": value.detach() for name, value in values.items()}
        if prefix == "train" and self.model.dustbin is not None:
            named["train/dustbin"] = self.model.dustbin.detach()
        shown = f"{prefix}/unexplained", "train/loss", "val/nll_per_det"
        for name, value in named.items():
            of_all = prefix == "val"
            self.log(name, value, batch_size=len(batch.valid), prog_bar=name in shown, sync_dist=of_all)
