"""`clipwatch check`: what is wrong, and the cure."""

from __future__ import annotations

import argparse

from clipwatch.cli.asking import print_json
from clipwatch.cli.assemble import Context
from clipwatch.cli.checks import run_checks
from clipwatch.visible import visible


def main(_arguments: argparse.Namespace, context: Context) -> int:
    """Exit 1 where something needs a cure."""
    checks = run_checks(context)
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
