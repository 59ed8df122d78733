"""The command line: what may be said, and where it goes."""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from clipwatch import __version__
from clipwatch.cli.arguments import Parser, as_text
from clipwatch.cli.completion import FILES
from clipwatch.cli.nowhere import refuse_nowhere
from clipwatch.config import LogConfig
from clipwatch.config_file import LoadedConfig, find_file, load
from clipwatch.errors import ClipwatchError
from clipwatch.service.notify import is_journal
from clipwatch.system_paths import expanded

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def build_parser() -> Parser:
    """Every command with its options."""
    parser = Parser(
        prog="clipwatch",
        description="Drop images in a folder; a Qdrant collection is its living mirror, searchable by meaning.",
    )
    parser.add_argument("--version", action="version", version=f"clipwatch {__version__}")
    _everywhere(parser, default=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, text: str, *, json: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if json:
            sub.add_argument("--json", action="store_true", help="one JSON document on stdout")
        return sub

    anew = "build the collection anew, beside the old one, which answers until that is complete"
    sub = command("run", "the daemon: scan, then watch, until SIGTERM or SIGINT", json=False)
    sub.add_argument("--rebuild", action="store_true", help=anew)
    sub = command("sync", "one scan to completion, then exit")
    sub.add_argument("--dry-run", action="store_true", help="print the plan with its reasons, change nothing")
    sub.add_argument("--rebuild", action="store_true", help=anew)
    sub = command("verify", "compare folder and collection, change nothing")
    sub.add_argument("--deep", action="store_true", help="by content, and by embedding a sample anew")
    sub = command("search", "the nearest images to words or a picture")
    sub.add_argument("text", nargs="*", metavar="TEXT", help="what to look for: words, and names of pictures")
    sub.add_argument(
        "--image", metavar="FILE", type=expanded, action="append", default=[], help="look for pictures like this one"
    )
    sub.add_argument("-n", "--limit", type=int, default=10, metavar="N", help="how many (10)")
    sub.add_argument(
        "--filter", action="append", default=[], metavar="KEY=VALUE", help="only where the payload says so"
    )
    what = "[WEIGHT:]WHAT"
    sub.add_argument("--plus", action="append", default=[], metavar=what, help="more of these words, or of this file")
    sub.add_argument("--minus", action="append", default=[], metavar=what, help="less of them; 0.5:WHAT is half of it")
    sub.add_argument("-f", "--paths-only", action="store_true", help="absolute paths alone, a line each")
    sub.add_argument("-0", "--null", action="store_true", help="the same, each ended by a NUL: for `xargs -0`")
    sub = command("export", "the collection as JSON lines, or as a file of arrays", json=False)
    sub.add_argument("--json", action="store_true", help="JSON lines, as without it")
    sub.add_argument("--vectors", action="store_true", help="with the vectors")
    sub.add_argument("--format", choices=("jsonl", "npz", "parquet"), default="jsonl", help="of what kind (jsonl)")
    sub.add_argument("--output", metavar="FILE", type=expanded, help="where to; npz and parquet need it")
    sub = command("status", "what the running daemon is doing")
    sub.add_argument("--watch", action="store_true", help="again and again, until Ctrl-C")
    command("confirm", "carry out deletes that are held")
    sub = command("forget", "delete the points of a folder name that is no longer in the configuration")
    sub.add_argument("name", metavar="NAME", type=as_text)
    sub.add_argument("--force", action="store_true", help="even where another machine mirrors it")
    sub = command("adopt", "take over the points of a folder that another machine has mirrored")
    sub.add_argument("name", metavar="NAME", type=as_text)
    sub = command("migrate", "copy the collection into another store, without inference")
    sub.add_argument("--to", required=True, metavar="URL", help="embedded:DIRECTORY, or a server's address")
    sub.add_argument("--collection", metavar="NAME", type=as_text, help="another name there (the same)")
    sub.add_argument("--api-key-file", metavar="FILE", type=expanded, help="the key of that server")
    command("check", "a doctor: what is wrong, and the cure")
    sub = command("model", "the models it knows; get, look at or make one")
    _model_commands(sub)
    sub = command("config", "the settings in force; or write a file of them")
    parts = sub.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = parts.add_parser("show", help="every setting and where it came from")
    show.add_argument("--json", action="store_true", help="one JSON document on stdout")
    init = parts.add_parser("init", help="write a commented file")
    init.add_argument(
        "file", nargs="?", default="config.toml", metavar="FILE", type=expanded, help="where to (config.toml)"
    )
    init.add_argument("--force", action="store_true", help="even over one that is there")
    parts.add_parser("schema", help="print the JSON schema, for an editor that completes and checks the file")
    sub = command("service", "systemd's files: write them, or remove them again", json=False)
    parts = sub.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text in (("install", "write them, with the paths of this program"), ("uninstall", "remove them again")):
        part = parts.add_parser(name, help=text)
        part.add_argument("--user", action="store_true", help="for your own desktop, run in this directory")
        part.add_argument("--dry-run", action="store_true", help="only say what would be done")
        part.add_argument(
            "--root", default="/", metavar="DIR", type=expanded, help="below another root, and start nothing"
        )
    sub = command("completion", "what makes a shell complete this command line, for its start-up file", json=False)
    sub.add_argument("shell", choices=tuple(FILES), metavar="SHELL", help="bash, zsh or fish")
    for below in parser.below():
        _everywhere(below)
    return parser


def _everywhere(parser: Parser, default: Any = argparse.SUPPRESS) -> None:
    """The options that may stand before the command or after it; without *default* one that is absent says nothing."""
    for name, choices, text in (
        ("--config", None, "configuration (default: $CLIPWATCH_CONFIG, ./config.toml)"),
        ("--log-format", ("json", "console"), "how the log on stderr looks"),
        (
            "--log-level",
            ("debug", "info", "warning", "error"),
            "from where on it is told (run: as configured, else warning)",
        ),
    ):
        shown = text if default is None else argparse.SUPPRESS
        parser.add_argument(name, choices=choices, metavar=None if choices else "FILE", default=default, help=shown)


def _model_commands(sub: argparse.ArgumentParser) -> None:
    actions = sub.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, text: str) -> argparse.ArgumentParser:
        part = actions.add_parser(name, help=text)
        part.add_argument("--json", action="store_true", help="one JSON document on stdout")
        return part

    action("list", "the models that can be fetched")
    part = action("fetch", "download one")
    part.add_argument("name", metavar="NAME", help="as `model list` names it")
    part.add_argument("--directory", metavar="DIR", type=expanded, help="where to (models)")
    part.add_argument("--give-up-seconds", type=float, default=None, metavar="S", help="when the hub does not answer")
    part = action("info", "what a model file is")
    part.add_argument("file", nargs="?", metavar="FILE", type=expanded, help="which (the configured one)")
    part = action("convert", "make ONNX from PyTorch weights")
    part.add_argument("source", nargs="?", default="openai/clip-vit-base-patch32", metavar="NAME_OR_DIR")
    part.add_argument("--directory", default="models", metavar="DIR", type=expanded, help="where to (models)")
    part.add_argument(
        "--output",
        choices=("embeds", "image_embeds", "tokens"),
        default="embeds",
        help="one vector a picture, or its tokens [n, 50, 512] to be averaged",
    )
    part.add_argument(
        "--pictures", nargs="*", default=[], metavar="FILE", type=expanded, help="compare PyTorch and ONNX on these too"
    )
    part.add_argument("--force", action="store_true", help="replace a model that is there")
    part = action("optimize", "measure faster variants on your own pictures, and take one")
    part.add_argument("--use", metavar="VARIANT", help="switch to this variant, or to the best")
    part.add_argument(
        "--allow", type=float, default=None, metavar="COSINE", help="accept a lower mean cosine (0.999), to 0.99"
    )
    part.add_argument(
        "--images", metavar="DIR", type=expanded, help="the pictures to measure with (the watched folder)"
    )


MODULES = {
    "run": "run",
    "sync": "sync",
    "verify": "verify",
    "search": "search",
    "export": "export",
    "status": "status",
    "confirm": "confirm",
    "forget": "forget",
    "adopt": "adopt",
    "check": "check",
    "model": "model",
    "config": "config",
    "service": "service",
    "migrate": "migrate",
    "completion": "completion",
}


def run(argv: list[str]) -> int:
    """Parse, load the settings, dispatch; every expected error becomes one sentence and a status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a name may hold what this terminal's character set has not
        sys.stdout.reconfigure(errors="backslashreplace")
    _replace_handlers(signal.SIG_DFL, _interrupt)
    command = ""
    try:
        try:
            arguments = build_parser().parse_args(argv)
        except SystemExit as end:  # after --help and --version
            return _flushed(int(end.code or 0))
        command = arguments.command
        module = importlib.import_module(f"clipwatch.cli.{MODULES[command]}")
        if getattr(module, "WITHOUT_CONFIG", None) and module.WITHOUT_CONFIG(arguments):
            return _flushed(module.main(arguments, None))
        context = _context(arguments)
        refuse_nowhere(arguments, context.loaded)
        return _flushed(module.main(arguments, context))
    except ClipwatchError as error:
        from clipwatch.cli.assemble import sentence_of

        _say(sentence_of(error))
        return int(getattr(error, "status", error.exit_status))
    except BrokenPipeError:
        # The reader of stdout has had enough; nothing more may be written there, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        if _is_lost(error):
            _say("The current directory was deleted or moved. Change into one that exists.")
            return 2
        if error.errno not in _NO_ROOM:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _say(f"{error.filename or 'The answer'} cannot be written: {error.strerror}.")
        return 1
    except KeyboardInterrupt:
        if command == "run":
            return 0  # nothing has begun: from there on it has its own way to end
        _say("Interrupted.")
        return 1
    finally:
        _replace_handlers(_interrupt, _end_at_once)


def _is_lost(error: OSError) -> bool:
    """Whether there is no current directory any more, so that no relative path means anything."""
    if error.errno != errno.ENOENT:
        return False
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """As Ctrl-C does: what was begun is put away, and no status is 128+n."""
    raise KeyboardInterrupt


def _end_at_once(_number: int, _frame: FrameType | None) -> None:
    os._exit(1)


def _replace_handlers(old: object, new: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is old:
            signal.signal(number, new)


def _say(sentence: str) -> None:
    """On stderr; the journal is told that it is an error, as the log tells it."""
    priority = "<3>" if is_journal(sys.stderr, os.environ) else ""
    print(f"{priority}clipwatch: {sentence}", file=sys.stderr)


def _flushed(status: int) -> int:
    sys.stdout.flush()
    return status


def _context(arguments: argparse.Namespace) -> Any:
    loaded = load_config(arguments)
    from clipwatch.cli.assemble import Context
    from clipwatch.clock import SystemClock
    from clipwatch.service.log_stream import LogStream
    from clipwatch.service.logs import LogOutput, make_logger

    log_format, level = _log_of(arguments, loaded.config.log)
    output = LogOutput(log_format, level)
    lines = LogStream(sys.stderr)
    logger, limiter = make_logger(format=log_format, level=level, clock=SystemClock(), output=output, lines=lines)
    json = getattr(arguments, "json", False)
    return Context(loaded, logger, limiter, json=json, output=output, log_stream=lines)


def _log_of(arguments: argparse.Namespace, log: LogConfig) -> tuple[str, str]:
    """Format and level. The settings are for `run`; the other commands say little unless their command line asks."""
    if arguments.command == "run":
        return log.format, log.level
    usual = "console" if sys.stderr.isatty() else "json"
    return arguments.log_format or usual, arguments.log_level or "warning"


def load_config(arguments: argparse.Namespace) -> LoadedConfig:
    """The settings that these arguments and this environment ask for."""
    overrides = {}
    if arguments.log_format:
        overrides["log", "format"] = arguments.log_format
    if arguments.log_level:
        overrides["log", "level"] = arguments.log_level
    return load(find_file(arguments.config, os.environ), os.environ, overrides)
