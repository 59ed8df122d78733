"""`clipwatch check`: what is wrong, and the cure."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from clipwatch.cli.asking import print_json
from clipwatch.cli.assemble import Context
from clipwatch.cli.check_folders import Check
from clipwatch.cli.check_service import installed_service, owner_of, run_as
from clipwatch.cli.checks import run_checks
from clipwatch.visible import visible


def main(_arguments: argparse.Namespace, context: Context) -> int:
    """Exit 1 where something needs a cure. Root looks as the service's user, whose files and rights are what counts."""
    file = context.loaded.file
    service = installed_service(file) or owner_of(context.state)
    if service is not None and os.geteuid() == 0 and service.user != "root" and service.directory.is_dir():
        named = ["--config", str(file.absolute())] if file is not None else []
        try:
            return run_as(service, [*named, "check", *(["--json"] if context.json else [])], context.config)
        except (OSError, KeyError) as error:
            hint = "Install this program where that user may read it, such as below /opt."
            return _tell(
                [Check("user", False, f"the service's user {service.user} cannot run it: {error}", hint)], context
            )
    return _tell(run_checks(context, service), context)


def _tell(checks: Sequence[Check], context: Context) -> int:
    ok = all(check.ok for check in checks)
    if context.json:
        print_json({"ok": ok, "checks": [check.as_json() for check in checks]})
        return 0 if ok else 1
    for check in checks:
        mark = "FAIL" if not check.ok else "warn" if check.hint else "ok"
        print(f"{mark:<4}  {check.name:<22} {visible(check.detail)}")
        if check.hint:
            print(f"{'':<29} → {visible(check.hint)}")
    return 0 if ok else 1
