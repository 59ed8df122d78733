#!/usr/bin/env python3
"""CLIP in PyTorch → models/clip_vision.onnx and its text tower: `clipwatch model convert`, under its classic name.

Needs: pip install 'clipwatch[convert]'.
"""

from __future__ import annotations

import sys
from pathlib import Path

from clipwatch.__main__ import main

if __name__ == "__main__":
    sys.argv[1:1] = ["model", "convert", "--directory", str(Path(__file__).parent)]
    raise SystemExit(main())
