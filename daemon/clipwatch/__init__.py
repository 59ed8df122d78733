"""clipwatch: a Qdrant collection that is the living mirror of a folder of images."""

from clipwatch.libraries import keep_libraries_quiet

__version__ = "0.1.0"

keep_libraries_quiet()
