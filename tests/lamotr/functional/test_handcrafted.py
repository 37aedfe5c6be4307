"""Hand-crafted scores against a loop."""

import pytest
import torch

from lamotr import handcrafted_scores
from mot_core.boxes import cxcywh_to_xyxy, iou


@pytest.mark.parametrize(("kind", "share"), [("iou", 0.0), ("feature", 1.0), ("combination", 0.3)])
def test_equals_the_loop(kind, share):
    generator = torch.Generator().manual_seed(0)
    objects, tracklets = (torch.rand(2, n, 4, generator=generator, dtype=torch.float64) + 0.1 for n in (3, 4))
    a, b = (torch.randn(2, n, 5, generator=generator, dtype=torch.float64) for n in (3, 4))
    found = handcrafted_scores(objects, tracklets, a, b, kind, appearance=0.3)
    for clip in range(2):
        for i in range(3):
            for j in range(4):
                overlap = iou(cxcywh_to_xyxy(objects[clip, i]), cxcywh_to_xyxy(tracklets[clip, j])).item()
                cosine = (a[clip, i] @ b[clip, j] / a[clip, i].norm() / b[clip, j].norm()).item()
                assert found[clip, i, j].item() == pytest.approx(share * max(cosine, 0) + (1 - share) * overlap)


def test_unknown_kind():
    box, embed = torch.rand(1, 4), torch.rand(1, 2)
    with pytest.raises(ValueError, match="kind: expected iou, feature or combination, got 'motion'"):
        handcrafted_scores(box, box, embed, embed, "motion")
