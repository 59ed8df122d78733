"""With whose eyes the doctor looks: the service's, where one is installed for this configuration."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clipwatch.cli.service import SYSTEM_UNITS, hidden_ones, quoted, this_program
from clipwatch.config import Config, is_server
from clipwatch.config_file import ENVIRONMENT_PREFIX

_UNITS: Final = ("clipwatch.service", "clipwatch@.service")


@dataclass(frozen=True, slots=True)
class Service:
    """What a unit says of the account and of the place that the daemon has."""

    user: str
    groups: tuple[str, ...] = ()
    directory: Path = Path("/")
    bound: tuple[Path, ...] = ()
    """Bound in, where the rest of such places is hidden."""
    hides_homes: bool = False
    credential: str = ""
    """The file of the store's key."""

    def does_not_see(self, folders: Iterable[Path]) -> list[Path]:
        """Those of *folders* that are hidden from the service."""
        seen = [folder for folder in folders if any(place in (folder, *folder.parents) for place in self.bound)]
        return hidden_ones(set(folders) - set(seen)) if self.hides_homes else []


def installed_service(config: Path | None, units: Path = SYSTEM_UNITS) -> Service | None:
    """The system service that is run with the file *config*, as its unit and the drop-ins say."""
    if config is None:
        return None
    for name in _UNITS:
        pieces = [units / name, *sorted((units / f"{name}.d").glob("*.conf"))]
        try:
            text = "\n".join(piece.read_text(encoding="utf-8") for piece in pieces if piece.is_file())
            said = _assignments(text.replace("%i", config.stem))
            if said.get("User") and any(quoted(str(config.absolute())) in line for line in said.get("ExecStart", [])):
                return _service(said)
        except (OSError, ValueError):  # not for this user's eyes, or a quote that does not end
            return None
    return None


def _assignments(text: str) -> dict[str, list[str]]:
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not key.startswith(("#", ";")):
            said.setdefault(key.strip(), []).append(value.strip())
    return said


def _service(said: Mapping[str, list[str]]) -> Service:
    def words(*keys: str) -> list[str]:
        return [word for key in keys for value in said.get(key, []) for word in shlex.split(value)]

    credentials = [value.partition(":") for value in said.get("LoadCredential", [])]
    return Service(
        user=said["User"][-1],
        groups=tuple(words("SupplementaryGroups")),
        directory=Path(said.get("WorkingDirectory", ["/"])[-1]),
        bound=tuple(Path(word.lstrip("-").partition(":")[0]) for word in words("BindReadOnlyPaths", "BindPaths")),
        hides_homes=said.get("ProtectHome", ["no"])[-1] not in ("no", "read-only"),
        credential=next((file for name, _, file in credentials if name == "api_key"), ""),
    )


def owner_of(state: Path) -> Service | None:
    """Without a service: whoever the state directory belongs to, or will, in this directory; None for root."""
    try:
        there = next(path for path in (state.absolute(), *state.absolute().parents) if os.path.exists(path))
        owner = there.stat().st_uid
        return Service(pwd.getpwuid(owner).pw_name, directory=Path.cwd()) if owner else None
    except (OSError, KeyError):
        return None


def run_as(service: Service, arguments: Iterable[str], config: Config) -> int:
    """The same command as the service's user; its exit status. Raises OSError, KeyError where that cannot be."""
    person = pwd.getpwnam(service.user)
    more = [grp.getgrnam(name).gr_gid for name in service.groups]
    environment = {**os.environ, "HOME": person.pw_dir}
    if service.credential and is_server(config.store.url) and not (config.store.api_key or config.store.api_key_file):
        key = Path(service.credential).read_text(encoding="utf-8-sig").partition("\n")[0].strip()
        environment[f"{ENVIRONMENT_PREFIX}STORE__API_KEY"] = key
    return subprocess.run(
        [*this_program().command, *arguments],
        user=person.pw_uid,
        group=person.pw_gid,
        extra_groups=[*os.getgrouplist(person.pw_name, person.pw_gid), *more],
        cwd=service.directory,
        env=environment,
        check=False,
    ).returncode
