"""LightningModule, data modules and callback for training; requires the extra ``[train]``."""

from em_kalman.lightning.callback import EMKalmanCallback
from em_kalman.lightning.data import DetectionDataModule, SyntheticDetectionDataModule, WindowDataModule
from em_kalman.lightning.module import EMKalmanModule

__all__ = [
    "DetectionDataModule",
    "EMKalmanCallback",
    "EMKalmanModule",
    "SyntheticDetectionDataModule",
    "WindowDataModule",
]
