"""Command that learns the motion noise."""

import json

from _helpers.em_kalman_scenes import make_distance_model
from em_kalman import save_model
from mot_core.cli import main
from mot_core.io import make_scene


def test_command_output_and_file(tmp_path, capsys):
    make_scene(num_objects=6, num_frames=100).save(tmp_path / "data", "street")
    save_model(make_distance_model(-8.0), tmp_path / "model.pt")
    command = [
        "em-kalman",
        "learn-motion",
        str(tmp_path / "data"),
        "--benchmark",
        "generic",
        "--output",
        str(tmp_path / "motion.json"),
    ]
    assert main([*command, "--checkpoint", str(tmp_path / "model.pt")]) == 0
    content = json.loads((tmp_path / "motion.json").read_text())
    assert content["trained_on"] == "street (det)"
    lines = {line[2:30].strip(): line[30:] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    values = [float(lines[name]) for name in ("learned", "constants of bytetrack", "constants of sort and ocsort")]
    assert values[0] == max(values)
    assert main([*command, "--checkpoint", str(tmp_path / "none.pt")]) == 1
    assert "none.pt: file not found" in capsys.readouterr().err
    assert main(["em-kalman", "learn-motion", "--help"]) == 0
