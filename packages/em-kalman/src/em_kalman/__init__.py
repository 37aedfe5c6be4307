"""Self-supervised association of detections with a neural Kalman filter.

>>> from em_kalman import MotionModel
>>> MotionModel().kind
'constant_velocity'
"""

from em_kalman.adaptation import adapt
from em_kalman.appearance.distill_loss import distill_clip_loss, distill_loss
from em_kalman.association_network import AssociationNetwork
from em_kalman.chain import compose_chain
from em_kalman.checkpoint import load_model, save_model
from em_kalman.detections.sampler import WindowSampler
from em_kalman.detections.sequences import DetectionSequence, read_detections
from em_kalman.detections.window import WindowBatch
from em_kalman.features import pairwise_box_features
from em_kalman.loss import EMKalmanLoss
from em_kalman.model import NeuralKalmanFilter, NKFOutput
from em_kalman.motion.motion_model import MotionModel
from em_kalman.objectives import frame_loglik
from em_kalman.plugin import EMKalmanPlugin
from em_kalman.tracking.cost import EMKalmanCost
from em_kalman.tracking.detection_probability import learn_detection_probability
from em_kalman.tracking.tracker import EMKalmanTracker
from em_kalman.tracking.weak_share import learn_weak_share
from em_kalman.training import AssociationCollapse, Schedule, fit

__version__ = "0.1.0"
__all__ = [
    "AssociationCollapse",
    "AssociationNetwork",
    "DetectionSequence",
    "EMKalmanCost",
    "EMKalmanLoss",
    "EMKalmanPlugin",
    "EMKalmanTracker",
    "MotionModel",
    "NKFOutput",
    "NeuralKalmanFilter",
    "Schedule",
    "WindowBatch",
    "WindowSampler",
    "__version__",
    "adapt",
    "compose_chain",
    "distill_clip_loss",
    "distill_loss",
    "fit",
    "frame_loglik",
    "learn_detection_probability",
    "learn_weak_share",
    "load_model",
    "pairwise_box_features",
    "read_detections",
    "save_model",
]
