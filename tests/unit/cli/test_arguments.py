"""What a misspelled command line is answered with."""

from __future__ import annotations

import pytest

from clipwatch.cli.parser import build_parser
from clipwatch.errors import ConfigError


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("snyc", "Unknown command 'snyc'. Did you mean `sync`?"),
        ("frobnicate", "Unknown command 'frobnicate'. Known are: run, sync, verify,"),
        ("config shwo", "Unknown action 'shwo'. Did you mean `show`?"),
        ("search cat --limt 3", "`clipwatch search` has no option `--limt`. Did you mean `--limit`?"),
        ("search --limt=3 cat", "`clipwatch search` has no option `--limt`. Did you mean `--limit`?"),
        ("migrate --too x", "`clipwatch migrate` has no option `--too`. Did you mean `--to`?"),
        ("service install --userr", "`clipwatch service install` has no option `--userr`. Did you mean `--user`?"),
        ("status -n", "`clipwatch status` has no option `-n`. Its options are --help, --json, --watch."),
        ("status -n 5", "`clipwatch status` has no option `-n`. Its options are --help, --json, --watch."),
        ("--confg x status", "`clipwatch` has no option `--confg`. Did you mean `--config`?"),
        ("--json status", "It belongs after the command: `clipwatch COMMAND --json`."),
        ("--log-level inof run", "Unknown --log-level 'inof'. Did you mean `info`?"),
        ("export --format np", "Unknown --format 'np'. Did you mean `npz`?"),
        ("status now", "`clipwatch status` takes no 'now'. See `clipwatch status --help`."),
    ],
)
def test_what_is_misspelled_is_answered_with_the_nearest_that_there_is(typed: str, answer: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build_parser().parse_args(typed.split())
    assert answer in refused.value.sentence()


@pytest.mark.parametrize("words", ["--log-level debug status", "status --log-level debug", "status --log-le debug"])
def test_what_holds_everywhere_may_stand_before_the_command_or_after_it(words: str) -> None:
    assert build_parser().parse_args(words.split()).log_level == "debug"
    assert build_parser().parse_args(["model", "list"]).log_level is None
