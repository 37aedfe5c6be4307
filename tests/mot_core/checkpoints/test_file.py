"""Checkpoint files: damage is detected, code is not run, and every fault is one sentence."""

import argparse
import os
import pickle
import zipfile

import pytest
import torch

from mot_core.checkpoints.file import FIELDS, LIGHTNING, read_checkpoint, read_file

CONTENT = {
    LIGHTNING: "2.5.0",
    "epoch": 3,
    "state_dict": {"weight": torch.arange(12.0).view(3, 4), "bias": torch.ones(3), "step": torch.tensor(7)},
    "tracker": {"class": "MOTIP", "arguments": {"lr": 0.5}},
}


class Evil:
    def __reduce__(self):
        return (print, ("code of the file was run",))


@pytest.fixture
def path(tmp_path):
    torch.save(CONTENT, tmp_path / "x.ckpt")
    return tmp_path / "x.ckpt"


def sentence(path, read=read_file):
    """Return the message of the ValueError for a file."""
    with pytest.raises(ValueError, match=r"x\.ckpt: ") as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert "weights_only" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.slow
@pytest.mark.parametrize("bit", [0, 4, 7])
def test_flipped_bits_are_detected_or_harmless(path, bit):
    """Every byte of a file: records, index and padding; bit 4 of an attribute makes PyTorch skip a record."""
    data, expected, rejected = path.read_bytes(), str(CONTENT), 0
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :])
        try:
            content = read_file(path)
        except ValueError:
            rejected += 1
        else:
            assert str(content) == expected, f"byte {position} changed the content"
    assert rejected > len(data) / 3


def test_flipped_bit_in_a_tensor_is_reported(path):
    record = zipfile.ZipFile(path).getinfo("x/data/0")
    data = bytearray(path.read_bytes())
    start = data.index(torch.arange(12.0).numpy().tobytes(), record.header_offset)
    data[start + 5] ^= 1
    path.write_bytes(data)
    changed = torch.load(path, weights_only=True)["state_dict"]["weight"]
    assert not torch.equal(changed, CONTENT["state_dict"]["weight"]), "torch.load does not notice"
    assert sentence(path).startswith("expected a checkpoint, got a damaged file (wrong checksum of data/0); copy")


def test_truncated_files(path):
    data = path.read_bytes()
    for length in range(1, len(data), 7):
        path.write_bytes(data[:length])
        assert sentence(path).startswith("expected a checkpoint"), length
    path.write_bytes(b"")
    assert sentence(path).startswith("expected a checkpoint, got an empty file; copy the file again")


@pytest.mark.parametrize(
    "content", [b"text", b"\x80", b"\x80\x02}", b"\x89PNG\r\n", b"PK", pickle.dumps({"a": 1}), b"\0"]
)
def test_foreign_files(path, content):
    path.write_bytes(content)
    assert sentence(path).startswith("expected a checkpoint")


def test_foreign_archives(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    assert sentence(path) == "expected a checkpoint written by PyTorch, got another kind of file"
    with zipfile.ZipFile(path, "w") as archive:  # a TorchScript module
        for name in ("constants.pkl", "data.pkl", "version"):
            archive.writestr(f"x/{name}", "3")
    assert sentence(path) == "expected a checkpoint written by PyTorch, got another kind of file"


@pytest.mark.parametrize("legacy", [False, True])
def test_code_is_named_and_not_run(path, capsys, legacy):
    for content, name in ((Evil(), "print"), (argparse.Namespace(lr=1), "argparse.Namespace")):
        torch.save({"model": content}, path, _use_new_zipfile_serialization=not legacy)
        message = sentence(path)
        assert message.startswith(f"expected tensors and plain values, got a pickled {name}, which could run code; if")
    path.write_bytes(pickle.dumps(Evil()))
    sentence(path)
    assert "run" not in capsys.readouterr().out


def test_files_before_pytorch_1_6(path):
    torch.save(CONTENT, path, _use_new_zipfile_serialization=False)
    assert str(read_file(path)) == str(CONTENT)
    path.write_bytes(path.read_bytes()[:-20])
    assert sentence(path).startswith("expected a checkpoint written by PyTorch")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_that_are_not_finite(path, value, dtype):
    bad = torch.ones(2, 3, dtype=dtype)
    bad[1, 1] = value
    cases = {
        "state_dict.a.weight": {"state_dict": {"a.weight": bad}},
        "optimizer_states.0.state.1.exp_avg": {
            "state_dict": {},
            "optimizer_states": [{"state": {1: {"exp_avg": bad}}}],
        },
        "model.w": {"model": {"w": bad}},
        "w": {"w": bad},
        "0": [bad],
    }
    for name, content in cases.items():
        torch.save(content, path)
        assert sentence(path).startswith(f"{name}: expected finite weights, got NaN or infinity; use a checkpoint from")


def test_other_values_may_be_infinite(path):
    content = {
        "state_dict": {"a": torch.ones(1), "mask": torch.tensor([True])},
        "callbacks": {"best": torch.tensor(torch.inf)},
    }
    torch.save(content, path)
    assert str(read_file(path)) == str(content)


def test_expanded_tensor_does_not_fill_the_memory(path):
    torch.save({"a": torch.zeros(1).expand(10**12)}, path)
    assert read_file(path)["a"].shape == (10**12,)
    torch.save({"a": torch.full((1,), torch.nan).expand(10**12)}, path)
    assert sentence(path).startswith("a: expected finite")


@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_the_wrong_type(path, name):
    torch.save({**CONTENT, name: None}, path)
    message = sentence(path, read_checkpoint)
    assert message.startswith(f"{name}: expected a")
    assert message.endswith(", got NoneType; use a file written by mot fit or mot import")


def test_names_of_weights(path):
    torch.save({**CONTENT, "state_dict": {3: torch.ones(1)}}, path)
    assert sentence(path, read_checkpoint) == "state_dict: expected names of weights, got 3 as a name"


def test_fields_of_other_projects_are_free(path):
    torch.save({"model": {"w": torch.ones(1)}, "epoch": "three"}, path)
    assert read_checkpoint(path)["epoch"] == "three"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_do_not_block(tmp_path):
    os.mkfifo(tmp_path / "x.ckpt")
    for path in (tmp_path / "x.ckpt", tmp_path, tmp_path / "none"):
        with pytest.raises(FileNotFoundError, match="does not exist or is not a file"):
            read_file(path)
