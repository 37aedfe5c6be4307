"""Two-stage training as a LightningModule."""

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
    """Trains like :func:`em_kalman.fit`, under a Trainer, on batches of :class:`em_kalman.WindowBatch`.

    Logs the loss, ``nll_per_det``, ``unexplained``, ``assoc_entropy``, ``gate_violations`` and ``dustbin`` under
    ``train/`` and ``val/``. Set the Trainer's ``max_epochs`` to the sum of both stages; gradient clipping is left to
    the Trainer. The checkpoints can be loaded by :func:`em_kalman.load_model` and ``mot track``.

    Args:
        warmup_epochs: Number of epochs of the first stage.
        warmup_lr: Learning rate of Adam in the first stage.
        lr: Learning rate of Adam in the second stage.
        objective: Training objective; see :func:`em_kalman.frame_loglik`.
        hidden: Number of hidden units of the association network.
        q: Variance that the velocity gains per frame, in squared box heights.
        r: Variance of a measured coordinate, in squared box heights.
        learn_noise: Whether to learn ``q`` and ``r`` too.
        embeddings: Whether to add the cosine similarity of the embeddings to the pair features.

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
        """Training stage: 1 during warm-up, then 2."""
        return 1 if self.current_epoch < self.schedule.warmup_epochs else 2

    def on_train_start(self) -> None:
        """Learn the detection probability if training was interrupted after its last step.

        Lightning does not call :meth:`on_train_epoch_end` in that case.
        """
        if self.current_epoch == self.trainer.max_epochs:
            learn_detection_probability(self.model, self._windows())

    def on_train_batch_start(self, batch: WindowBatch, batch_idx: int) -> None:
        """Start the second stage if training was interrupted right before it."""
        if self.stage == 2:
            self._begin_second_stage()

    def training_step(self, batch: WindowBatch, batch_idx: int) -> Tensor:
        """Compute and log the loss of a batch."""
        values = step_values(self.model, self.loss, batch, self.stage, self.schedule)
        self._log_all("train", values, batch)
        self._unexplained.append(values["unexplained"])
        # The first stage does not use the dustbin, but distributed training needs a gradient for every parameter.
        return values["loss"] + 0 * sum(parameter.sum() for parameter in self.model.parameters())

    def on_train_epoch_end(self) -> None:
        """Calibrate the dustbin after warm-up, and check for collapse in later epochs.

        At the end of training, also learn the detection probability, which the tracker uses.

        Raises:
            AssociationCollapse: If an epoch after warm-up left most detections unexplained.
        """
        if self.stage == 2 and self._unexplained:
            # Reduced over all processes, so that all of them stop together.
            found = self.all_gather(torch.stack(self._unexplained).mean())
            check_collapse(torch.as_tensor(found).mean().item(), self.schedule)
        elif self.current_epoch + 1 == self.schedule.warmup_epochs:
            self._begin_second_stage()
        self._unexplained.clear()
        run = self.trainer
        # Not in on_train_end, which runs after the last checkpoint is saved.
        last = self.current_epoch + 1 == run.max_epochs or self.global_step == run.max_steps or run.should_stop
        if last and self._warm:
            learn_detection_probability(self.model, self._windows())

    def validation_step(self, batch: WindowBatch, batch_idx: int) -> None:
        """Log the likelihood of held-out detections."""
        self._log_all("val", self.loss(self.model(batch), batch), batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam with the learning rate of the first stage."""
        lr = self.schedule.warmup_lr if self.schedule.warmup_epochs else self.schedule.lr
        return torch.optim.Adam(self.parameters(), lr)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the settings that rebuild the model."""
        checkpoint[FORMAT] = record(self.model) | {"warm": self._warm}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore whether the dustbin has been calibrated."""
        self._warm = checkpoint[FORMAT]["warm"]

    def _begin_second_stage(self) -> None:
        """Calibrate the dustbin and restart the optimizer with the second learning rate, once."""
        if self._warm:
            return
        self._warm = True
        # A separate loader, because the Trainer is iterating over its own.
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
