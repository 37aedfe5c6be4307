"""The table of boxes."""

from pathlib import Path

import numpy as np
import pytest

from mot_core.io import BoxTable


def table_of(*frames, **columns):
    boxes = np.arange(4.0 * len(frames)).reshape(-1, 4)
    return BoxTable(np.array(frames, np.int64), np.arange(len(frames)), boxes, **columns)


def test_stable_sort_by_frame():
    table = table_of(3, 1, 3, 1)
    assert table.frames.tolist() == [1, 1, 3, 3]
    assert table.ids.tolist() == [1, 3, 0, 2]
    assert table.boxes_xyxy[:, 0].tolist() == [4, 12, 0, 8]


def test_frame_slices():
    table = table_of(1, 1, 3)
    assert [table.frame(number) for number in (0, 1, 2, 3, 4)] == [
        slice(0, 0),
        slice(0, 2),
        slice(2, 2),
        slice(2, 3),
        slice(3, 3),
    ]


def test_select_keeps_every_column():
    table = table_of(1, 2, 3, path=Path("a.txt"), occlusion=np.array([0, 1, 2]), truncation=np.zeros(3))
    part = table.select(table.frames >= 2)
    assert part.occlusion.tolist() == [1, 2]
    assert part.path == table.path
    assert len(part) == len(part.visibility) == 2
    assert table_of(1, 2).select(slice(0, 1)).occlusion is None


def test_concatenate():
    one, two = table_of(2, 3, path=Path("a.txt")), table_of(1, 2, path=Path("b.txt"))
    both = BoxTable.concatenate([one, two])
    assert both.frames.tolist() == [1, 2, 2, 3]
    assert both.ids.tolist() == [0, 0, 1, 1]
    assert both.path is None
    assert BoxTable.concatenate([one, one]).path == one.path
    assert len(BoxTable.concatenate([])) == 0


def test_unequal_columns_are_rejected():
    with pytest.raises(ValueError, match=r"BoxTable: ids must have shape \(2,\), got \(1,\)"):
        BoxTable([1, 2], [1], np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"boxes_xyxy must have shape \(1, 4\), got \(1, 5\)"):
        BoxTable([1], [1], np.zeros((1, 5)))
