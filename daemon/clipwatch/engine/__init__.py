"""The embedded store: Qdrant's engine in a child process of its own, behind Qdrant's REST paths.

`process.Engine` is what the daemon uses; everything else runs in the child (`python -m clipwatch.engine`).
"""
