"""What shells and `man` are told of the command line."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tools import shell_files

from clipwatch.cli.completion import FILES
from clipwatch.cli.parser import MODULES, build_parser
from support.optional import lacking


def test_completions_and_manual_are_those_of_the_present_command_line() -> None:
    """`python tools/shell_files.py` writes them."""
    for name, text in shell_files.texts().items():
        assert (shell_files.FOLDER / name).read_text() == text, name


def test_the_manual_has_every_command_option_and_exit_status() -> None:
    manual = re.sub(r"\\f.|\\(?=-)", "", shell_files.manual())
    parser = build_parser()
    for below in (parser, *parser.below()):
        assert below.commands() or f'"{below.prog} [options]' in manual, below.prog
        for action in below._actions:
            if action.help not in (None, "==SUPPRESS==") and action.dest != "help":
                assert all(f"\n{name}" in manual or f", {name}" in manual for name in action.option_strings)
    assert all(f"\n.B {status}\n" in manual for status in range(5))


def test_the_manual_is_sound_roff() -> None:
    if shutil.which("groff") is None:
        lacking("groff is not installed: see tests/system/install_packages.sh")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", shell_files.FOLDER / shell_files.MANUAL],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)


def _completed(shell: str, typed: str, file: Path, home: Path) -> set[str]:
    """What *shell* offers after *typed*, once it has read *file*."""
    scripts = {
        "bash": 'source "$1"; read -ra COMP_WORDS <<< "$2"; [[ $2 == *" " ]] && COMP_WORDS+=(""); '
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); $(complete -p clipwatch | sed 's/.*-F //; s/ .*//') clipwatch "
        '"${COMP_WORDS[COMP_CWORD]}"; printf "%s\\n" "${COMPREPLY[@]}"',
        "fish": 'source $argv[1]; complete -C "$argv[2]"',
    }
    command = {"bash": ["bash", "-c", scripts["bash"], "bash"], "fish": ["fish", "--no-config", "-c", scripts["fish"]]}
    done = subprocess.run(
        [*command[shell], file, typed],
        cwd=home,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return {line.partition("\t")[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_a_shell_completes_commands_options_models_and_files(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        lacking(f"{shell} is not installed: see tests/system/install_packages.sh")
    (tmp_path / "cat.jpg").touch()
    script = shell_files.FOLDER / FILES[shell]

    def offered(typed: str) -> set[str]:
        return _completed(shell, typed, script, tmp_path)

    assert offered("clipwatch ") >= set(MODULES)
    assert offered("clipwatch s") == {"search", "service", "status", "sync"}
    assert offered("clipwatch search --pa") == {"--paths-only"}
    assert offered("clipwatch search --image ca") == {"cat.jpg"}
    assert offered("clipwatch search ca") == {"cat.jpg"}
    assert "clip-vit-base-patch32" in offered("clipwatch model fetch ")
    assert offered("clipwatch export --format ") >= {"jsonl", "npz", "parquet"}


def test_zsh_takes_its_completion(tmp_path: Path) -> None:
    if shutil.which("zsh") is None:
        lacking("zsh is not installed: see tests/system/install_packages.sh")
    file = shell_files.FOLDER / FILES["zsh"]
    subprocess.run(["zsh", "-n", file], check=True)
    script = (
        f"fpath=({file.parent} $fpath); autoload -Uz compinit; compinit -u -d {tmp_path}/dump; print $_comps[clipwatch]"
    )
    done = subprocess.run(["zsh", "-fc", script], capture_output=True, text=True, check=True)
    assert done.stdout == "_clipwatch\n"
