"""A decode worker holds nothing but what decoding needs: less to start, and less to take over."""

from __future__ import annotations

import json
import subprocess
import sys

LIST_IMPORTED = """
import json, sys
import clipwatch.image.worker
ours = [name for name in sys.modules if name.startswith("clipwatch.")]
installed = [name for name, module in sys.modules.items() if "site-packages" in (getattr(module, "__file__", "") or "")]
foreign = {name.partition(".")[0] for name in installed}
print(json.dumps([sorted(ours), sorted(foreign)]))
"""


def test_a_worker_imports_pillow_at_most_numpy_and_little_of_ours() -> None:
    told = subprocess.run([sys.executable, "-P", "-c", LIST_IMPORTED], capture_output=True, text=True, check=True)
    ours, foreign = json.loads(told.stdout)
    # setuptools, where it is installed, puts its hack into every Python
    assert {"PIL"} <= set(foreign) <= {"PIL", "numpy", "_distutils_hack"}
    allowed = ("clipwatch.image", "clipwatch.records", "clipwatch.errors", "clipwatch.config", "clipwatch.libraries")
    assert [name for name in ours if not name.startswith(allowed)] == []
