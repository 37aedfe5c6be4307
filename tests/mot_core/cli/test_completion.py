"""`mot completion`: the words after a command line, and completion in an actual bash."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mot_core.cli import COMMANDS
from mot_core.cli.completion import SCRIPTS, next_words


@pytest.mark.parametrize(
    ("line", "words", "absent"),
    [
        ("", {*COMMANDS, "em-kalman"}, {"--tracker"}),
        ("track street.mp4", {"--tracker", "--detector", "--output"}, {"--max-age"}),
        ("track --tracker", {"bytetrack", "motip"}, {"--output"}),
        ("track --tracker sort", {"--max-age", "--output"}, {"--tracker"}),
        ("track street.mp4 --detector", {"onnx:", "transformers:"}, {"sort"}),
        ("data", {"check"}, {"track"}),
        ("data check x --benchmark", {"auto", "MOT17", "generic"}, {"--json"}),
        ("fit --config", {"motip_synthetic", "motr_mot17"}, {"--config"}),
        ("fit", {"--config", "--init"}, {"--tracker"}),
        ("configs show", {"motip_synthetic", "motip_weights"}, {"show"}),
        ("sweep", {"motip_weights"}, {"motip_mot17"}),
        ("completion", {"bash", "zsh", "fish"}, {"--words"}),
    ],
)
def test_words_after_a_command_line(line, words, absent):
    found = set(next_words(line.split()))
    assert words <= found
    assert not absent & found


@pytest.mark.parametrize("line", ["track street.mp4 --output", "track --tracker sort --config", "track --tracker srt"])
def test_no_words_where_only_a_file_can_follow(line):
    assert next_words(line.split()) == []


@pytest.mark.parametrize("shell", SCRIPTS)
def test_code_of_each_shell(mot, shell):
    done = mot("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert "mot completion --words" in done.out


def test_a_shell_is_required(mot):
    done = mot("completion")
    assert (done.code, done.err) == (
        2,
        "mot completion: error: SHELL: expected one of bash, zsh, fish, got none (see mot completion --help)\n",
    )
    assert "invalid choice: 'bsh'; did you mean bash?" in mot("completion", "bsh").err


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_the_word_at_the_cursor(tmp_path):
    program = tmp_path / "mot"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom mot_core.cli import main\nsys.exit(main())\n")
    program.chmod(0o755)
    code = f"""{SCRIPTS["bash"]}
COMP_WORDS=(mot track street.mp4 --tracker byte); COMP_CWORD=4; _mot; echo "${{COMPREPLY[@]}}"
COMP_WORDS=(mot ev); COMP_CWORD=1; _mot; echo "${{COMPREPLY[@]}}"
"""
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True, env=env, cwd=Path.cwd())
    assert done.stdout.splitlines() == ["bytetrack", "eval"]
