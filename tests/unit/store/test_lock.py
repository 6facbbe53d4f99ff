"""Which file system a folder lies on, from the kernel's table of mounts."""

from __future__ import annotations

import pytest

from holdfast.store.lock import kind_of_mount

MOUNTS = r"""overlay / overlay rw,relatime 0 0
proc /proc proc rw 0 0
/dev/sda1 /srv ext4 rw 0 0
server:/export /srv/shared nfs4 rw,vers=4.2 0 0
/dev/sdb1 /srv/shared/fast xfs rw 0 0
//nas/x /mnt/my\040disk cifs rw 0 0
odd /mnt/back\134slash\011tab 9p rw 0 0
tmpfs /cover tmpfs rw 0 0
server:/cover /cover nfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "overlay"),
        ("/var/lib/holdfast", "overlay"),
        ("/srv", "ext4"),
        ("/srv/data", "ext4"),
        ("/srv/shared", "nfs4"),
        ("/srv/shared/data", "nfs4"),
        ("/srv/shared/fast/data", "xfs"),
        ("/srv/sharedness", "ext4"),
        ("/mnt/my disk/data", "cifs"),
        ("/mnt/my", "overlay"),
        ("/mnt/back\\slash\ttab/data", "9p"),
        ("/cover/data", "nfs"),
    ],
)
def test_the_innermost_mount_counts(path: str, kind: str) -> None:
    """By whole names, odd ones included; what is mounted over another hides it."""
    assert kind_of_mount(MOUNTS, path) == kind


def test_no_table_tells_nothing() -> None:
    """Where the kernel is silent nothing is claimed."""
    assert kind_of_mount("", "/data") == "unknown"
