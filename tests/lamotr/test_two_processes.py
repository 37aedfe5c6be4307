"""Training with the plug-in in two processes equals that in one process with the same global batches."""

import pytest

from _helpers.two_process.compare import check_equal, reports_of
from _helpers.two_process.lamotr import TRACKERS


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    return reports_of("lamotr", TRACKERS, tmp_path_factory.mktemp("processes"))


@pytest.mark.slow
@pytest.mark.parametrize("tracker", TRACKERS)
def test_training_in_two_processes(reports, tracker):
    assert any(name.startswith("plugins.lamotr.") for name in reports[tracker]["one"]["weights"])
    check_equal(**reports[tracker])
