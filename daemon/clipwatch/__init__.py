"""clipwatch: a Qdrant collection that is the living mirror of a folder of images."""

__version__ = "0.1.0"
