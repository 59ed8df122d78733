"""The embedded store: Qdrant's engine in a process of its own."""
