"""`mot env`: versions, devices and plug-ins."""

import importlib.metadata

import pytest
import torch

from mot_core.cli import env


def test_versions_devices_trackers_and_plugins(mot, monkeypatch):
    monkeypatch.setenv("MOT_DEBUG", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Device {index}")
    done = mot("env")
    assert (done.code, done.err) == (0, "")
    found = dict(line.split(": ", 1) for line in done.out.splitlines())
    assert found["torch"] == torch.__version__
    assert found["unitrack-loss"] == importlib.metadata.version("unitrack-loss")
    assert found["devices"].startswith("cpu, cuda:0 Device 0 (CUDA ")
    assert "cuda:1 Device 1" in found["devices"]
    assert {"bytetrack", "motip"} <= set(found["trackers"].split(", "))
    assert "fdta_identity" in found["plug-ins"]
    assert found["MOT_DEBUG"] == "1"


@pytest.mark.parametrize("missing", ["lightning", "trackeval"])
def test_missing_packages_are_left_out(monkeypatch, missing):
    version = importlib.metadata.version

    def lookup(package):
        if package == missing:
            raise importlib.metadata.PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(importlib.metadata, "version", lookup)
    found = env.environment()
    assert missing not in found
    assert "torch" in found
