import json

import numpy as np
import pytest

from _helpers.two_process.launch import launch


@pytest.mark.slow
def test_two_processes_match_one_on_global_batches(tmp_path):
    for processes, batch in ((1, 4), (2, 2)):
        launch("data", processes, batch, tmp_path)
    one, *two = (json.loads((tmp_path / name).read_text()) for name in ("1-0.json", "2-0.json", "2-1.json"))
    assert len(one["train"]) == 4
    for whole, first, second in zip(one["train"], two[0]["train"], two[1]["train"], strict=True):
        assert sorted(whole) == sorted(first + second)
    frames = [share["val"] for share in two]
    assert sorted(one["val"]) == sorted(frames[0] + frames[1])
    videos = [{clip[0][0] for clip in share} for share in frames]
    assert not videos[0] & videos[1]
    np.testing.assert_allclose(two[0]["color"], two[1]["color"], rtol=0)
    np.testing.assert_allclose(one["color"], two[0]["color"], rtol=1e-6)
