"""rclip's own indexer, walk, hash, look-ahead and database included, with our 224-pixel tower in place of its own."""

from __future__ import annotations

import importlib
import sqlite3

import numpy as np
from bench.peers.common import Task, Work, float_rows, now, run_peer

BATCH = 8
"""Its default."""


def program(task: Task) -> Work:
    """`ensure_index`, as the command calls it."""
    preprocess = importlib.import_module("rclip.utils.preprocess")
    main = importlib.import_module("rclip.main")
    for module in (preprocess, main):
        module.IMAGE_SIZE = 224  # type: ignore[attr-defined]
    database_module = importlib.import_module("rclip.db")
    models = importlib.import_module("rclip.model")
    download = importlib.import_module("rclip.model_download")

    model = models.Model()
    # Loaded by its own function, with its own session options.
    model._session_visual_var = download._load_onnx_session(str(task.peers / "visual.onnx"))
    file = task.output / "rclip.sqlite3"
    database = database_module.DB(file)
    indexer = main.RClip(model, database, BATCH, None)
    started = now()
    indexer.ensure_index(str(task.folder))
    seconds = now() - started
    indexer.close()
    database.close()
    with sqlite3.connect(file) as connection:
        rows = connection.execute("SELECT filepath, vector FROM images").fetchall()
    return Work(
        {path.rpartition("/")[2]: float_rows(np.frombuffer(vector, np.float32)) for path, vector in rows}, seconds
    )


if __name__ == "__main__":
    run_peer(program)
