"""What is mounted where on this host, read from the kernel's mountinfo."""

from __future__ import annotations

import dataclasses
import glob
import os
import stat

MOUNTINFO = '/proc/self/mountinfo'


@dataclasses.dataclass(frozen=True)
class Mount:
    """One line of mountinfo.

    `device` is (major, minor) of what is mounted, `root` the directory of its file system that is
    seen at the mount point; `number` is the id of the mount itself.
    """

    mount_point: str
    fs_type: str
    source: str
    options: tuple[str, ...]
    device: tuple[int, int]
    number: int = 0
    root: str = '/'

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


def place_of(path: str) -> tuple[tuple[int, int], str]:
    """Device and path within its file system: the same however often that is mounted."""
    path = os.path.realpath(path)
    mount = mount_of(path)
    if mount is None:
        return (0, 0), path
    inside = os.path.relpath(path, mount.mount_point)
    return mount.device, os.path.normpath(os.path.join(mount.root, inside))


def mount_of_descriptor(fd: int) -> Mount | None:
    """The mount that an open file is on, whatever has been mounted over its path since."""
    with open(f'/proc/self/fdinfo/{fd}', encoding='ascii') as lines:
        number = next((int(line.split()[1]) for line in lines if line.startswith('mnt_id:')), None)
    return next((m for m in mounts() if m.number == number), None)


def devices_of(path: str) -> set[tuple[int, int]]:
    """Devices that show bytes of the volume at `path`: itself, partitions, what is built on it.

    For a regular file these are the loop devices on it.
    """
    found = os.stat(path)
    if stat.S_ISBLK(found.st_mode):
        waiting = [(os.major(found.st_rdev), os.minor(found.st_rdev))]
    else:
        waiting = _loops_on(os.path.realpath(path))
    devices: set[tuple[int, int]] = set()
    while waiting:
        device = waiting.pop()
        if device not in devices:
            devices.add(device)
            waiting += _built_on(device)
    return devices


def _loops_on(path: str) -> list[tuple[int, int]]:
    found = []
    for backing in glob.glob('/sys/block/loop*/loop/backing_file'):
        if _read(backing) == path:
            found += _numbers([os.path.join(os.path.dirname(backing), '..', 'dev')])
    return found


def _built_on(device: tuple[int, int]) -> list[tuple[int, int]]:
    """Partitions and holders (device-mapper, md) of a device."""
    folder = f'/sys/dev/block/{device[0]}:{device[1]}'
    return _numbers(glob.glob(f'{folder}/*/partition') + glob.glob(f'{folder}/holders/*/dev'))


def _numbers(files: list[str]) -> list[tuple[int, int]]:
    found = []
    for file in files:
        if file.endswith('/partition'):
            file = os.path.join(os.path.dirname(file), 'dev')
        major, _, minor = _read(file).partition(':')
        if major.isdigit() and minor.isdigit():
            found.append((int(major), int(minor)))
    return found


def _read(file: str) -> str:
    """A file of sysfs; empty where the device has just gone."""
    try:
        with open(file, encoding='utf-8', errors='surrogateescape') as content:
            return content.read().rstrip('\n')
    except OSError:
        return ''


def _parse(line: str) -> Mount:
    """Format: proc(5), /proc/pid/mountinfo. Octal escapes stand for blanks."""
    left, _, right = line.rstrip('\n').partition(' - ')
    fields, tail = left.split(' '), right.split(' ')
    major, _, minor = fields[2].partition(':')
    options = tuple(fields[5].split(',')) + tuple(tail[2].split(','))
    return Mount(_unescape(fields[4]), tail[0], _unescape(tail[1]), options,
                 (int(major), int(minor)), int(fields[0]), _unescape(fields[3]))


def _unescape(text: str) -> str:
    for code, character in (('\\040', ' '), ('\\011', '\t'), ('\\012', '\n'), ('\\134', '\\')):
        text = text.replace(code, character)
    return text
