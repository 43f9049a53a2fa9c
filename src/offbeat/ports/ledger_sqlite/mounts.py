"""Which file system a path is on, from the text of /proc/self/mountinfo. Pure: never reads it."""

from __future__ import annotations

import re

NETWORK = frozenset(
    "9p afs beegfs ceph cifs coda fuse.ceph fuse.cephfs fuse.glusterfs fuse.rclone fuse.s3fs fuse.sshfs gfs gfs2 glusterfs gpfs"
    " lustre ncpfs nfs nfs4 ocfs2 orangefs pvfs2 smb3 smbfs".split()
)


def file_system_of(path: str, mountinfo: str) -> str:
    """Return the type of the file system that holds the absolute `path`, "" when the text does not tell.

    Source: proc_pid_mountinfo(5): the fifth field is the mount point, octal-escaped; the type follows the lone "-".
    """
    longest, found = -1, ""
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5 or not after:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:  # a later mount hides an earlier one at the same point
            longest, found = len(point), after.split(" ")[0]
    return found
