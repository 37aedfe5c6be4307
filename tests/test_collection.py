"""Every test module is collected without optional packages, and skipped with a reason if it needs one."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WITHOUT = ("lightning", "PIL", "torchmetrics", "trackeval", "av", "hypothesis", "optuna", "filterpy", "matplotlib")
CODE = f"""
import sys, importlib.abc
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {WITHOUT}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import pytest
sys.exit(pytest.main(["--collect-only", "-q", "-rs", "-p", "no:hypothesispytest", "-p", "no:cacheprovider"]))
"""


@pytest.mark.slow
def test_modules_are_collected_without_optional_packages():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "test_boxes.py" in done.stdout
    reasons = {line.rpartition(": ")[2] for line in done.stdout.splitlines() if line.startswith("SKIPPED")}
    assert {"needs lightning, which is not installed", "needs hypothesis, which is not installed"} <= reasons
