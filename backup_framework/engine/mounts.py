"""What is mounted where on this host, read from the kernel's mountinfo."""

from __future__ import annotations

import dataclasses
import os

MOUNTINFO = '/proc/self/mountinfo'


@dataclasses.dataclass(frozen=True)
class Mount:
    """One line of mountinfo. `device` is (major, minor) of what is mounted."""

    mount_point: str
    fs_type: str
    source: str
    options: tuple[str, ...]
    device: tuple[int, int]

    @property
    def writable(self) -> bool:
        return 'ro' not in self.options


def mounts() -> list[Mount]:
    """All mounts that this process sees, in the order they were made."""
    with open(MOUNTINFO, encoding='utf-8', errors='surrogateescape') as lines:
        return [_parse(line) for line in lines]


def mount_of(path: str) -> Mount | None:
    """The mount that holds `path`: the deepest mount point above it, the newest on a tie."""
    path = os.path.realpath(path)
    holding = [m for m in mounts() if os.path.commonpath([m.mount_point, path]) == m.mount_point]
    return max(reversed(holding), key=lambda m: len(m.mount_point), default=None)


def mounts_of_device(path: str) -> list[Mount]:
    """Where the block device at `path` is mounted; empty when it is not, or is no device."""
    number = os.stat(path).st_rdev
    device = (os.major(number), os.minor(number))
    return [m for m in mounts() if m.device == device]


def _parse(line: str) -> Mount:
    """Format: proc(5), /proc/pid/mountinfo. Octal escapes stand for blanks."""
    left, _, right = line.rstrip('\n').partition(' - ')
    fields, tail = left.split(' '), right.split(' ')
    major, _, minor = fields[2].partition(':')
    options = tuple(fields[5].split(',')) + tuple(tail[2].split(','))
    return Mount(_unescape(fields[4]), tail[0], _unescape(tail[1]), options,
                 (int(major), int(minor)))


def _unescape(text: str) -> str:
    for code, character in (('\\040', ' '), ('\\011', '\t'), ('\\012', '\n'), ('\\134', '\\')):
        text = text.replace(code, character)
    return text
