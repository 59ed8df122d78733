"""`clipwatch check`: what is wrong, and the cure."""

from __future__ import annotations

import argparse

from clipwatch.cli.asking import print_json
from clipwatch.cli.assemble import Context
from clipwatch.cli.checks import run_checks


def main(_arguments: argparse.Namespace, context: Context) -> int:
    """Exit 1 where something needs a cure."""
    checks = run_checks(context)
    ok = all(check.ok for check in checks)
    if context.json:
        print_json({"ok": ok, "checks": [check.as_json() for check in checks]})
        return 0 if ok else 1
    from clipwatch.service.logs import visible

    for check in checks:
        print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name:<22} {visible(check.detail)}")
        if not check.ok and check.hint:
            print(f"{'':<29} → {visible(check.hint)}")
    return 0 if ok else 1
