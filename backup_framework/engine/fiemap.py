"""Where two files of one file system may differ: wherever they do not share their blocks.

That is for states of a volume side by side on XFS or btrfs (`cp --reflink`, snapshots of
subvolumes): copy on write gives whatever changes a new place. What is not certain counts as
differing.

Source: linux/fiemap.h, and Documentation/filesystems/fiemap.rst of the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
import fcntl
import itertools
import os
import stat
import struct
from typing import NamedTuple

from backup_framework.engine import mounts
from backup_framework.model import Extent

_FILE_SYSTEMS = ('xfs', 'btrfs')
"""Those that share blocks. Below others, such as overlay, one place can be on several devices."""

_FS_IOC_FIEMAP = 0xC020660B
_REQUEST = struct.Struct('=QQIIII')  # start, length, flags, mapped extents, room for extents, -
_EXTENT = struct.Struct('=QQQ16xI12x')  # logical, physical, length, flags
_FLAG_SYNC = 0x1
LAST = 0x1
UNWRITTEN = 0x800
MERGED = 0x1000
SHARED = 0x2000

_FS_IOC_FSGETXATTR = 0x801C581F  # linux/fs.h
_XATTR_SIZE = 28
_XFLAG_REALTIME = 0x1

_PAGE = 512
"""Extents that are asked for at a time."""
_MOST = 1 << 16
"""Extents that are given; more are joined with what lies between them."""
_SMALLEST_GAP = 64 << 10

_ZEROS = 'zeros'
Place = int | str | None
"""How far behind its place in the file a byte lies in the store below, `_ZEROS`, or not known."""


class Mapped(NamedTuple):
    """What the kernel says of a part of a file."""

    logical: int
    physical: int
    length: int
    flags: int

    @property
    def end(self) -> int:
        return self.logical + self.length


class Run(NamedTuple):
    """A part of a file with one place; it begins where the one before ends."""

    end: int
    place: Place


def differing(new: int, old: int, tick: Callable[[], None] = lambda: None) -> list[Extent] | None:
    """Where alone a file may differ from another: sorted, without overlaps.

    :param new: descriptor of a file that nothing writes to, as `old`.
    :param tick: called now and then.
    :return: None where the kernel cannot tell.
    """
    try:
        if not _comparable(new, old):
            return None
        size = os.fstat(new).st_size
        common = min(size, os.fstat(old).st_size)
        found = differences(runs(_mapped(new, common, tick), common),
                            runs(_mapped(old, common, tick), common), common)
        return joined(itertools.chain(found, [Extent(common, size - common)]))
    except OSError:
        return None


def _comparable(new: int, old: int) -> bool:
    """Whether equal places mean equal blocks.

    The subvolumes of one btrfs have device numbers of their own, so those of the mounts count.
    """
    if not all(stat.S_ISREG(os.fstat(fd).st_mode) for fd in (new, old)):
        return False
    one, other = mounts.mount_of_descriptor(new), mounts.mount_of_descriptor(old)
    if one is None or other is None or one.device != other.device:
        return False
    return one.fs_type in _FILE_SYSTEMS and not any(map(_on_realtime_device, (new, old)))


def _on_realtime_device(fd: int) -> bool:
    """Whether an XFS keeps a file on its second device, which counts places anew."""
    flags = fcntl.ioctl(fd, _FS_IOC_FSGETXATTR, bytes(_XATTR_SIZE))
    return bool(struct.unpack_from('=I', flags)[0] & _XFLAG_REALTIME)


def _mapped(fd: int, size: int, tick: Callable[[], None]) -> Iterator[Mapped]:
    """What the kernel says of the first bytes of a file, a page at a time."""
    page = bytearray(_REQUEST.size + _PAGE * _EXTENT.size)
    start = 0
    while start < size:
        tick()
        _REQUEST.pack_into(page, 0, start, size - start, _FLAG_SYNC, 0, _PAGE, 0)
        fcntl.ioctl(fd, _FS_IOC_FIEMAP, page)
        count = _REQUEST.unpack_from(page)[3]
        if not count:
            return
        for index in range(count):
            mapped = Mapped(*_EXTENT.unpack_from(page, _REQUEST.size + index * _EXTENT.size))
            yield mapped
        if mapped.flags & LAST:
            return
        start = mapped.end


def runs(extents: Iterable[Mapped], size: int) -> Iterator[Run]:
    """All of a file's first bytes, holes too. After extents out of order nothing is known."""
    at = 0
    for extent in extents:
        if extent.end <= at:
            yield Run(size, None)
            return
        if extent.logical >= size:
            break
        if extent.logical > at:
            yield Run(extent.logical, _ZEROS)
        at = min(extent.end, size)
        yield Run(at, _place(extent))
    if at < size:
        yield Run(size, _ZEROS)


def _place(extent: Mapped) -> Place:
    """Blocks that are not shared may have been written to in place; other flags are no places."""
    flags = extent.flags & ~(LAST | MERGED)
    if flags & ~SHARED == UNWRITTEN:
        return _ZEROS
    return extent.physical - extent.logical if flags == SHARED else None


def differences(new: Iterator[Run], old: Iterator[Run], size: int) -> Iterator[Extent]:
    """Where two files of so many bytes do not certainly have the same."""
    at, one, other = 0, Run(0, None), Run(0, None)
    while at < size:
        one = next(new) if one.end == at else one
        other = next(old) if other.end == at else other
        end = min(one.end, other.end)
        if one.place is None or one.place != other.place:
            yield Extent(at, end - at)
        at = end


def joined(extents: Iterable[Extent], most: int = _MOST) -> list[Extent]:
    """At most so many extents that hold the given ones, which are sorted."""
    gap, found = 0, list[Extent]()
    for extent in extents:
        _add(found, extent, gap)
        while len(found) > most:
            gap = max(2 * gap, _SMALLEST_GAP)
            wider, found = found, []
            for each in wider:
                _add(found, each, gap)
    return found


def _add(found: list[Extent], extent: Extent, gap: int) -> None:
    if not extent.length:
        return
    if found and extent.offset - found[-1].end <= gap:
        found[-1] = Extent(found[-1].offset, extent.end - found[-1].offset)
    else:
        found.append(extent)
