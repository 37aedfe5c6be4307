"""Lightning callbacks: result files, videos of tracks, diagnostics, and plug-ins. Needs the extra ``[train]``.

>>> from mot_core.callbacks import ResultsWriter
>>> ResultsWriter("runs/results").folder
'runs/results'
"""

from mot_core.extras import needs

with needs("lightning", "train", "a callback"):
    import lightning as _lightning  # noqa: F401  # required by all callbacks

from mot_core.callbacks.memory import MemoryEstimate
from mot_core.callbacks.plugin_callback import PluginCallback
from mot_core.callbacks.results_writer import ResultsWriter
from mot_core.callbacks.similarity import EmbeddingSimilarity
from mot_core.callbacks.track_video import TrackVideo

__all__ = ["EmbeddingSimilarity", "MemoryEstimate", "PluginCallback", "ResultsWriter", "TrackVideo"]
