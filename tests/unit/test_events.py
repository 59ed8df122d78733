"""The page of log events says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from support.events_in_code import events_in_code

PAGE = Path(__file__).parents[2] / "docs" / "events.md"
_ROW = re.compile(r"^\| `(?P<event>[a-z._]+)` \| (?P<levels>[a-z, ]+) \| (?P<fields>.*?) \| .+ \|$", re.MULTILINE)


def test_every_event_of_the_code_is_on_the_page_with_its_levels_and_fields() -> None:
    page = {
        row["event"]: (set(row["levels"].split(", ")), set(re.findall(r"`([a-z_…]+)`", row["fields"])))
        for row in _ROW.finditer(PAGE.read_text())
    }
    code = events_in_code()
    assert page.keys() == code.keys()
    for event, facts in code.items():
        assert (event, page[event]) == (event, facts)
