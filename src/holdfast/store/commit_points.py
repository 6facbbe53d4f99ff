"""Where a test stops a process beside a commit: one moment, whichever engine makes the commit."""

from __future__ import annotations

from holdfast import faults


def before_commit() -> None:
    """All rows are written, and none of them counts yet."""
    faults.point_sync("store.before_commit")


def after_commit() -> None:
    """It is made, and nobody has been told."""
    faults.point_sync("store.after_commit")
