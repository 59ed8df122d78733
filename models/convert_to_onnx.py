#!/usr/bin/env python3
"""CLIP in PyTorch → models/clip_vision.onnx and its text tower. Needs: pip install 'clipwatch[convert]'."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from clipwatch.errors import ClipwatchError
from clipwatch.model.convert import CLASSIC, OUTPUTS, convert


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default=CLASSIC, help="a folder, or a repository of the hub (%(default)s)")
    parser.add_argument("--directory", type=Path, default=Path(__file__).parent, help="where to write (%(default)s)")
    parser.add_argument(
        "--output",
        choices=OUTPUTS,
        default=OUTPUTS[0],
        help="one vector a picture, or its tokens [n, 50, 512] to be averaged",
    )
    parser.add_argument("--pictures", type=Path, nargs="*", default=[], help="compare PyTorch and ONNX on these too")
    parser.add_argument("--force", action="store_true", help="replace a model that is there")
    arguments = parser.parse_args()
    try:
        done = convert(
            arguments.model,
            arguments.directory,
            output=arguments.output,
            pictures=arguments.pictures,
            force=arguments.force,
            say=lambda line: print(line, file=sys.stderr),
        )
    except ClipwatchError as error:
        print(error.sentence(), file=sys.stderr)
        return error.exit_status
    print(f"{done.vision}: {done.width} numbers a picture, cosine to PyTorch {done.cosine:.6f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
