"""The script that everyone writes first: Pillow, one picture a run, one upsert each into qdrant-client's local mode."""

from __future__ import annotations

import uuid

from bench.peers.common import Task, Work, now, run_peer
from bench.reference import pixels_of, session_of, unit
from qdrant_client import QdrantClient, models


def program(task: Task) -> Work:
    """Decodes whole."""
    session = session_of(task.model)
    client = QdrantClient(path=str(task.output / "qdrant"))
    client.create_collection("images", models.VectorParams(size=512, distance=models.Distance.COSINE))
    vectors = {}
    started = now()
    for file in task.files:
        vector = unit(session.run(None, {"pixel_values": pixels_of(file)[None]})[0][0])
        point = models.PointStruct(
            id=str(uuid.uuid5(uuid.NAMESPACE_URL, file.name)), vector=vector.tolist(), payload={"path": file.name}
        )
        client.upsert("images", [point])
        vectors[file.name] = vector
    seconds = now() - started
    client.close()
    return Work(vectors, seconds)


if __name__ == "__main__":
    run_peer(program)
