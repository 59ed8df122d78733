"""What libraries would do on their own, switched off; `clipwatch` does it before any of its modules is imported.

A library reads these once, when it is imported. Processes that this one starts inherit the environment, and those
that do not (decode workers) import `clipwatch` too.
"""

from __future__ import annotations

import os
import sys
from typing import Final

SWITCHES: Final = {
    # ONNX Runtime, from 1.29 on: usage data to its vendor, with a device id and a queue below ~/.cache/Microsoft.
    "ORT_DISABLE_TELEMETRY": "1",
    # huggingface_hub: asks the hub for a list of AI tools, keeps it in ~/.cache and names the one in use to the hub.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # transformers: asks a service to convert weights that are not in safetensors, from a thread of its own.
    "DISABLE_SAFETENSORS_CONVERSION": "1",
    # tokenizers: threads that gain nothing for one text, and a warning on stderr after a fork.
    "TOKENIZERS_PARALLELISM": "false",
}
"""Environment variables that nobody may override: nothing is sent that was not asked for."""

BLOCKED: Final = ("openvino_telemetry",)
"""Packages that are never imported. OpenVINO tells Google Analytics of each import by this one, with an id that it
keeps in ~/intel. No variable turns that off; where the package is missing it tells nobody."""


def keep_libraries_quiet() -> None:
    """Set `SWITCHES` and block `BLOCKED`, for this process and those that inherit its environment."""
    os.environ.update(SWITCHES)
    # gRPC logs to stderr in a form that is not ours; what matters comes as an exception. May be overridden to debug.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for name in BLOCKED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None: importing it is an ImportError
