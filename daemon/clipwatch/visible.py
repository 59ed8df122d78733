"""Text from elsewhere (file names above all) as it may be shown: nothing moves a cursor, forges a line or hides."""

from __future__ import annotations

import json
import re
from typing import Any, Final

_CONTROL: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ud800-\udfff\ufeff\U000e0000-\U000e007f]"
)
"""Control characters, line ends, what turns the direction of writing, what has no width, halves of characters."""


def visible(text: str) -> str:
    r"""*text* with each such character spelled out, as in `\x1b`."""
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), text)


def visible_json(value: Any, encoding: str = "utf-8") -> str:
    r"""One line of JSON for *value*, with each such character as in `\u001b`; all others where *encoding* has them.

    Raises `ValueError` for NaN and infinity, which JSON has not.
    """
    plain = json.dumps(value, ensure_ascii=False, allow_nan=False)
    line = _CONTROL.sub(lambda match: json.dumps(match.group())[1:-1], plain)
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(value, ensure_ascii=True)
    return line
