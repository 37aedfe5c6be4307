"""All installed plug-ins, with arguments that give a nonzero loss in short training runs; extend for new plug-ins."""

from _helpers.em_kalman_scenes import make_distance_model
from em_kalman import EMKalmanPlugin
from em_kalman.lightning import EMKalmanCallback
from unitrack_loss import UniTrackPlugin
from unitrack_loss.lightning import UniTrackCallback

ALWAYS = {"weight": 0.5, "warmup_steps": 0, "min_score": 0.0}
PLUGINS = {
    "unitrack": lambda **options: UniTrackPlugin(**(ALWAYS | {"report_every": 1} | options)),
    "em_kalman": lambda **options: EMKalmanPlugin(**(ALWAYS | {"model": make_distance_model()} | options)),
}
CALLBACKS = {
    "unitrack": lambda **options: UniTrackCallback(**(ALWAYS | {"report_every": 1} | options)),
    "em_kalman": lambda **options: EMKalmanCallback(**(ALWAYS | {"model": make_distance_model()} | options)),
}
