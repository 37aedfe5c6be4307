"""The kernel benchmark, as far as it runs without a GPU."""

import pytest
import torch

from mot_core.bench import kernels
from mot_core.bench.cases import CASES, Case
from mot_core.cli import main
from mot_core.ops import choice


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests the message of a missing GPU")
def test_missing_gpu_is_reported(capsys):
    assert main(["bench", "kernels"]) == 2
    assert "expected a GPU that PyTorch can use, found none" in capsys.readouterr().err


def test_measurement_of_every_implementation():
    chosen = []

    def call(x):
        chosen.append(choice.CHOICE)
        return 2 * x if choice.CHOICE == "triton" else x + x

    def timer(function):
        function()
        return {"reference": 6.0, "triton": 2.0}[choice.CHOICE]

    case = Case("twice", call, lambda device: [torch.ones(1000, device=device)], 5.0)
    row = kernels.measure(case, 1e9, timer, compiled=False, device="cpu")
    assert (row["eager_both_ms"], row["kernel_both_ms"], row["speed_up"]) == (6.0, 2.0, 3.0)
    assert row["bytes"] == 8000  # read and written once
    assert row["floor_ms"] == pytest.approx(0.008)
    assert row["share_of_floor"] == pytest.approx(0.004)
    assert row["error"] == 0
    assert set(chosen[1:]) == {"reference", "triton"}
    assert choice.CHOICE == ""
    versions = {"versions": {"torch": "2"}, "gpu": "none", "date": "today", "copy_gb_per_s": 1.0}
    row |= {"kernel_peak_bytes": 2_000_000, "eager_peak_bytes": 7_000_000}
    assert "| twice | 2.000 | 0% | 2.000 | 6.000 | - | 3.0 | 5 | 2.0 | 7.0 | 0.0e+00 |" in kernels.table(
        versions | {"results": [row]}
    )


def test_progress_names_the_case(capsys):
    assert list(kernels.with_progress(CASES[:2])) == list(CASES[:2])
    assert f"2 of 2: {CASES[1].name}" in capsys.readouterr().err


@pytest.mark.parametrize("result", [1.5, float("nan")])
def test_wrong_kernel_is_detected(result):
    def call(x):
        return x * (result if choice.CHOICE == "triton" else 1)

    case = Case("wrong", call, lambda device: [torch.ones(3, device=device)], 5.0)
    row = kernels.measure(case, 1e9, lambda function: 1.0, compiled=False, device="cpu")
    assert row["error"] > row["tolerance"]


@pytest.mark.parametrize("case", [case for case in CASES if "23" not in case.name], ids=lambda case: case.name)
def test_cases_have_gradients(case):
    inputs = [one.requires_grad_() for one in case.inputs("cpu")]
    result = case.call(*inputs)
    torch.autograd.grad(result.sum(), inputs)
    assert case.bytes_read is None or case.bytes_read <= sum(one.nbytes for one in inputs)
