"""Online association: SORT, ByteTrack and OC-SORT over one batched Kalman filter, in NumPy."""

from mot_core.association.assignment import assign as assign
from mot_core.association.bytetrack import ByteTrack as ByteTrack
