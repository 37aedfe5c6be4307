"""Every kernel compiles for sm_80, sm_90 and sm_100 as launched, with at most the resources in resources.json.

After an intended change run ``nox -s kernels -- record`` and commit the difference of the JSON file with it.
"""

import json
import sys
import tempfile
from pathlib import Path

import pytest
import torch
import triton

from _helpers.kernels.ahead_of_time import TARGETS, recorded_launches, resources
from _helpers.kernels.variants import VARIANTS

RECORD = Path(__file__).with_name("resources.json")
# Registers of a thread, default shared memory of a program, and tolerance for a few spilled values.
REGISTERS, SHARED_BYTES, SPILLED_BYTES = 255, 48 * 1024, 32


def measure(variant, folder):
    """Return the resources by target of every kernel that a variant launches."""
    with recorded_launches() as launches:
        VARIANTS[variant]()
    assert launches, f"{variant} launches nothing"
    return {
        f"{variant}: {kernel.fn.__name__}": {target: resources(kernel, *rest, target, folder) for target in TARGETS}
        for kernel, *rest in launches
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_resources_equal_record(variant, tmp_path):
    recorded = json.loads(RECORD.read_text())
    for name, by_target in measure(variant, tmp_path).items():
        for target, found in by_target.items():
            where = f"{name} for {target}: {found}"
            assert found["spilled_bytes"] <= SPILLED_BYTES, where
            assert found["registers"] <= REGISTERS, where
            assert found["shared_bytes"] <= SHARED_BYTES, where
            if recorded["triton"] == triton.__version__:
                assert found == recorded["kernels"][name][target], (
                    f"{where}, recorded {recorded['kernels'][name][target]}"
                )


def test_record_lists_existing_kernels_only():
    recorded = json.loads(RECORD.read_text())["kernels"]
    assert {name.partition(": ")[0] for name in recorded} == set(VARIANTS)


def test_launch_is_recorded_without_running():
    from mot_core.ops.fused import deformable_attention as fused

    one = torch.ones(1, 1, 1, 1)
    with recorded_launches() as launches:
        fused.forward(one, [1, 1], torch.ones(1, 1, 1, 1, 1, 2), one[..., None], False)
    ((kernel, arguments, options),) = launches
    assert kernel.fn.__name__ == "forward"
    assert arguments["shapes"] == (1.0, 1.0)
    assert arguments["BLOCK_Q"] == 1
    assert options == {}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        kernels = {}
        for variant in VARIANTS:
            kernels |= measure(variant, Path(folder))
            print(variant, file=sys.stderr)
    RECORD.write_text(json.dumps({"triton": triton.__version__, "kernels": kernels}, indent=1, sort_keys=True) + "\n")
