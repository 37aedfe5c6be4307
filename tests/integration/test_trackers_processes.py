"""Training and scoring in two processes equal those in one process with the same global batches."""

import pytest

from _helpers.trackers.tracker_cases import SHIPPED_TRACKERS
from _helpers.two_process.compare import check_equal, reports_of


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    return reports_of("training", SHIPPED_TRACKERS, tmp_path_factory.mktemp("processes"))


@pytest.mark.slow
@pytest.mark.parametrize("tracker", SHIPPED_TRACKERS)
def test_training_in_two_processes(reports, tracker):
    assert len(reports[tracker]["one"]["losses"]) == 4
    check_equal(**reports[tracker])


@pytest.mark.slow
@pytest.mark.parametrize("tracker", SHIPPED_TRACKERS)
def test_scores_of_two_processes(reports, tracker):
    one, first, second = (reports[tracker][key]["metrics"] for key in ("one", "first", "second"))
    assert one["val/HOTA"] > 0
    assert one == first == second
