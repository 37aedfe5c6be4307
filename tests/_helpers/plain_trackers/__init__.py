"""Plain versions of the trackers of `mot_core.association`, for comparison with the batched ones.

One Python object per track, full covariance matrices, explicit loops over pairs, and one list of tracks per frame.
Written from the papers and from notes on the official implementations, independently of mot_core.
"""

from _helpers.plain_trackers.botsort import PlainBoTSort as PlainBoTSort
from _helpers.plain_trackers.bytetrack import PlainByteTrack as PlainByteTrack
from _helpers.plain_trackers.cbiou import PlainCBIoU as PlainCBIoU
from _helpers.plain_trackers.common import Row as Row
from _helpers.plain_trackers.filters import AreaFilter as AreaFilter
from _helpers.plain_trackers.filters import HeightFilter as HeightFilter
from _helpers.plain_trackers.ocsort import PlainOCSort as PlainOCSort
from _helpers.plain_trackers.sort import PlainSort as PlainSort
