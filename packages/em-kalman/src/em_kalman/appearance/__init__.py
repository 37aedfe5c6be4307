"""Appearance features distilled from motion: a network for crops, and the losses that teach it."""

from em_kalman.appearance.appearance_network import AppearanceNetwork as AppearanceNetwork
from em_kalman.appearance.appearance_network import crop_boxes as crop_boxes
from em_kalman.appearance.appearance_network import distill as distill
from em_kalman.appearance.appearance_network import embed_detections as embed_detections
from em_kalman.appearance.distill_loss import distill_clip_loss as distill_clip_loss
