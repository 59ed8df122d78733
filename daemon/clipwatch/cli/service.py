"""`clipwatch service install` and `uninstall`: systemd's files, with the paths of the program that runs."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from clipwatch.cli.assemble import Context
from clipwatch.config import Config, is_server
from clipwatch.config_file import find_file, load
from clipwatch.errors import ConfigError
from clipwatch.system_paths import SYSTEM_CONFIGS, SYSTEM_STATE, service_directory

MARK: Final = "# `clipwatch service install"
"""How a file begins that is ours to write over and to remove."""

HIDDEN: Final = (Path("/home"), Path("/root"), Path("/run/user"), Path("/tmp"), Path("/var/tmp"))  # noqa: S108
"""What the service does not see unless it is bound in: ProtectHome=tmpfs, PrivateTmp=yes."""

SYSTEM_CONFIG: Final = SYSTEM_CONFIGS / "config.toml"
SYSTEM_UNITS: Final = Path("/etc/systemd/system")


@dataclass(frozen=True, slots=True)
class Program:
    """Where this program is, as a unit must say it."""

    command: tuple[str, ...]
    needs: tuple[Path, ...]
    """Directories that must be readable for it to run."""
    openvino: bool


@dataclass(frozen=True, slots=True)
class Reach:
    """What a service must reach beyond what every one may."""

    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()

    def __add__(self, other: Reach) -> Reach:
        return Reach(self.readable + other.readable, self.writable + other.writable)


NOTHING: Final = Reach()


def reach_of(config: Config, directory: Path) -> Reach:
    """What *config* names, for a service that runs in *directory*."""
    model = directory / config.model.path
    readable = [directory / watch.path for watch in config.watch]
    # Beside the file lie the text tower and what prepares the pictures.
    readable.append(model.parent if model.suffix == ".onnx" else model)
    readable += [directory / file for file in (config.store.api_key_file, config.store.tls_ca_file) if file]
    writable = [directory / config.state.path]
    if not is_server(config.store.url):
        # The lock of a store lies beside it.
        writable.append((directory / config.store.url.removeprefix("embedded:")).parent)
    elsewhere = (path for path in writable if not path.is_relative_to(SYSTEM_STATE) and path != Path("/"))
    return Reach(tuple(readable), tuple(elsewhere))


def this_program() -> Program:
    """The entry point beside the running interpreter, else the interpreter itself."""
    script = Path(sys.prefix, "bin", "clipwatch")
    command = (str(script),) if os.access(script, os.X_OK) else (sys.executable, "-P", "-m", "clipwatch")
    paths = [sys.prefix, sys.base_prefix, *(entry for entry in sys.path if entry and Path(entry).is_dir())]
    return Program(command, tuple(Path(path) for path in paths), importlib.util.find_spec("openvino") is not None)


def hidden_ones(paths: Iterable[Path]) -> list[Path]:
    """Those that the service would not see, without those that lie within another one."""
    below = sorted({path for path in paths if any(hidden in path.parents for hidden in HIDDEN)})
    return [path for path in below if not any(other in path.parents for other in below)]


def quoted(word: str) -> str:
    """One word of `ExecStart=` or of a list of paths, as systemd.syntax(7) reads it."""
    escaped = word.replace("\\", "\\\\").replace("%", "%%").replace('"', '\\"')
    return f'"{escaped}"' if any(character in escaped for character in " \t'\"\\;") else escaped


def paths(setting: str, path: Path) -> str:
    """A line of a unit about a directory that may be absent."""
    return f"{setting}={quoted('-' + str(path).replace(':', chr(92) + ':'))}"


def unit(template: str, command: Iterable[str], *, directory: str = "", reach: Reach = NOTHING) -> str:
    """*template* with the command, the working directory where given, and what is to be reached."""
    bound = hidden_ones(reach.writable)
    read = [path for path in hidden_ones(reach.readable) if not any(path.is_relative_to(other) for other in bound)]
    kept = {path for path in reach.readable if _would_be_writable(path, reach.writable)}
    lines = []
    for line in template.splitlines():
        if line.startswith("ExecStart="):
            line = "ExecStart=" + " ".join(quoted(word).replace("$", "$$") for word in command)
        elif line.startswith("WorkingDirectory=") and directory:
            # The rest of the line is the path, blanks and all: nothing to quote.
            line = "WorkingDirectory=" + directory.replace("%", "%%")
        lines.append(line)
        if line.startswith("ProtectHome="):
            lines += [paths("BindReadOnlyPaths", path) for path in read]
            lines += [paths("BindPaths", path) for path in bound]
            lines += [paths("ReadWritePaths", path) for path in sorted({*reach.writable} - {*bound})]
            lines += [paths("ReadOnlyPaths", path) for path in sorted(kept)]
    return "\n".join(lines) + "\n"


def _would_be_writable(path: Path, writable: Sequence[Path]) -> bool:
    """Whether *path* lies below one of *writable*, and none of them below it."""
    return any(other in path.parents for other in writable) and not any(path in (o, *o.parents) for o in writable)


def instance_of(main: str) -> str:
    """The template unit for several instances: `clipwatch@NAME` with /etc/clipwatch/NAME.toml."""
    return (
        main.replace("/etc/clipwatch/config.toml", "/etc/clipwatch/%i.toml")
        .replace("StateDirectory=clipwatch", "StateDirectory=clipwatch/%i")
        .replace("WorkingDirectory=/var/lib/clipwatch", "WorkingDirectory=/var/lib/clipwatch/%i")
        .replace("Qdrant collection\n", "Qdrant collection (%i)\n")
        .replace("clipwatch.service.d", "clipwatch@.service.d")
        .replace("`systemctl edit clipwatch`", "`systemctl edit clipwatch@`")
    )


def shipped(name: str) -> str:
    """A file of `systemd/`."""
    return (resources.files("clipwatch.service") / "units" / name).read_text(encoding="utf-8")


def system_files(program: Program, config: Path, reach: Reach, reach_of_all: Reach) -> dict[Path, str]:
    """Everything that a system-wide installation writes; the template's instances share *reach_of_all*."""
    program_itself = Reach(program.needs)
    main = shipped("clipwatch.service")
    many = unit(
        instance_of(main),
        (*program.command, "--config", "/etc/clipwatch/%i.toml", "run"),
        reach=program_itself + reach_of_all,
    )
    files = {
        SYSTEM_UNITS / "clipwatch.service": unit(
            main, (*program.command, "--config", str(config), "run"), reach=program_itself + reach
        ),
        SYSTEM_UNITS / "clipwatch@.service": many.replace("%%i.toml", "%i.toml"),
        Path("/etc/sysusers.d/clipwatch.conf"): shipped("clipwatch.sysusers"),
        Path("/etc/tmpfiles.d/clipwatch.conf"): shipped("clipwatch.tmpfiles"),
    }
    if program.openvino:
        for name in ("clipwatch.service.d", "clipwatch@.service.d"):
            files[SYSTEM_UNITS / name / "openvino.conf"] = shipped("clipwatch-openvino.conf")
    return files


def user_files(program: Program, config: Path | None, directory: Path, units: Path) -> dict[Path, str]:
    """For one desktop user: the service runs in *directory*, as this command did."""
    options = ("--config", str(config)) if config is not None else ()
    text = unit(shipped("clipwatch-user.service"), (*program.command, *options, "run"), directory=str(directory))
    files = {units / "clipwatch.service": text}
    if program.openvino:
        files[units / "clipwatch.service.d" / "openvino.conf"] = shipped("clipwatch-openvino.conf")
    return files


def user_units(environment: Mapping[str, str]) -> Path:
    """Where the user manager looks first."""
    home = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "systemd" / "user"


def WITHOUT_CONFIG(_arguments: argparse.Namespace) -> bool:  # noqa: N802 - a hook of the parser
    """The service's configuration is not this command's: it may still be missing."""
    return True


def main(arguments: argparse.Namespace, _context: Context | None) -> int:
    """Write or remove, then tell what was done and what comes next."""
    install = arguments.action == "install"
    files = _files(arguments, needs=install)
    root = Path(arguments.root)
    manager = ["systemctl", "--user"] if arguments.user else ["systemctl"]
    live = root == Path("/") and Path("/run/systemd/system").exists()
    run = _Runner(dry=arguments.dry_run, live=live)
    targets = {root / path.relative_to("/"): text for path, text in files.items()}
    if install:
        _install(targets, dry=arguments.dry_run)
        if not arguments.user:
            run("systemd-sysusers", "clipwatch.conf")
            run("systemd-tmpfiles", "--create", "clipwatch.conf")
        run(*manager, "daemon-reload")
        _say_next(arguments, manager)
    else:
        if live:
            # A unit that was never loaded cannot be stopped, and need not be.
            run(*manager, "stop", "clipwatch.service", "clipwatch@*.service", check=False)
        _uninstall(targets, dry=arguments.dry_run)
        run(*manager, "daemon-reload")
        print("Images, collection, state, configuration and the account are left as they are.")
    return 0


def _files(arguments: argparse.Namespace, *, needs: bool) -> dict[Path, str]:
    """*needs*: whether it matters what the configuration names; the undoing must work where that is broken."""
    program = this_program()
    if arguments.user:
        config = find_file(arguments.config, os.environ)
        absolute = config.absolute() if config is not None else None
        return user_files(program, absolute, Path.cwd(), user_units(os.environ))
    config = Path(arguments.config or SYSTEM_CONFIG).absolute()
    if not needs:
        return system_files(program, config, NOTHING, NOTHING)
    root = Path(arguments.root)
    staged = sorted((root / SYSTEM_CONFIGS.relative_to("/")).glob("*.toml"))
    instances = [_reach(root, SYSTEM_CONFIGS / file.name) for file in staged if file.name != SYSTEM_CONFIG.name]
    return system_files(program, config, _reach(root, config), sum(instances, NOTHING))


def _reach(root: Path, file: Path) -> Reach:
    """What a configuration names; a service with one that cannot be read says so itself when it starts."""
    staged = root / file.relative_to("/")
    try:
        if not staged.exists():
            return NOTHING
        return reach_of(load(staged, {}).config, service_directory(file) or SYSTEM_STATE)
    except PermissionError:
        trouble = f"{file} cannot be looked at."
    except ConfigError as error:
        trouble = error.message
    print(f"clipwatch: {trouble} What it names is not made reachable: install again afterwards.", file=sys.stderr)
    return NOTHING


class _Runner:
    """Runs systemd's own commands, where a systemd runs and it is meant."""

    def __init__(self, *, dry: bool, live: bool) -> None:
        self._dry, self._live = dry, live

    def __call__(self, *command: str, check: bool = True) -> None:
        if not self._live:
            return
        print(("Would run " if self._dry else "Ran ") + shlex.join(command))
        if not self._dry:
            try:
                subprocess.run(command, check=check)
            except (OSError, subprocess.CalledProcessError) as error:
                raise ConfigError(f"{shlex.join(command)} failed: {error}.") from error


def _install(files: Mapping[Path, str], *, dry: bool) -> None:
    for path in files:
        if path.exists() and not _ours(path):
            raise ConfigError(f"{path} was not written by clipwatch.", hint="Move it away first.")
    for path, text in files.items():
        if dry:
            print(f"# Would write {path}:\n{text}")
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}.",
                hint="Run it as root, or with --user for your own desktop.",
            ) from error
        print(f"Wrote {path}")


def _uninstall(files: Mapping[Path, str], *, dry: bool) -> None:
    units = next(path.parent for path in files if path.name == "clipwatch.service")
    enabled = [link for link in units.glob("*.wants/clipwatch*.service") if link.is_symlink()]
    # The drop-in may have been written when OpenVINO was still there.
    dropped = [path for path in units.glob("clipwatch*.service.d/openvino.conf") if path not in files]
    for path in (*enabled, *files, *dropped):
        if not path.is_symlink() and not path.exists():
            continue
        if not path.is_symlink() and not _ours(path):
            print(f"Left {path}: it was not written by clipwatch")
            continue
        print(f"{'Would remove' if dry else 'Removed'} {path}")
        if not dry:
            try:
                path.unlink()
                if path.parent.name.endswith(".service.d") and not any(path.parent.iterdir()):
                    path.parent.rmdir()
            except OSError as error:
                raise ConfigError(f"{path} cannot be removed: {error.strerror}.", hint="Run it as root.") from error


def _ours(path: Path) -> bool:
    try:
        return path.read_text(encoding="utf-8").startswith(MARK)
    except (OSError, UnicodeDecodeError):
        return False


def _say_next(arguments: argparse.Namespace, manager: list[str]) -> None:
    if not arguments.user:
        config = Path(arguments.config or SYSTEM_CONFIG)
        if not os.path.exists(config):
            print(f"Next: clipwatch config init {config}, and set watch.path in it; install again if it is below /home")
    print(f"Next: {shlex.join(manager)} enable --now clipwatch")
