"""Volumes that are files: those of a directory, or those that a map names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import contextlib
import errno
import fcntl
import fnmatch
import hashlib
import io
import os
import re
import secrets
import signal
import stat
import time
from typing import BinaryIO
import uuid

from backup_framework import exceptions, model
from backup_framework.engine import directories, fiemap, source
from backup_framework.interface.volume_source import Capabilities, Reading, VolumeSource
from backup_framework.model import Extent, Option, OptionType, Snapshot, Volume

_FICLONE = 0x40049409  # linux/fs.h
_NO_CLONE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY, errno.EXDEV, errno.EROFS, errno.EACCES,
             errno.EPERM, errno.ENAMETOOLONG)
_STRANGE = re.compile(r'[^A-Za-z0-9_.-]+')
_LONGEST_NAME = 150
_LONGEST_MAP = 16 << 20
_SNAPSHOT = re.compile(r'\.(?P<name>.+)\.[0-9a-f]{16}\.snapshot')
_MADE_FOR = 'user.backup_framework.key'
"""Extended attribute of a volume: the key that it was made for."""
_KEPT = re.compile(r'\.(?P<name>.+)\.[0-9a-f-]{36}\.kept')
_ABANDONED = 7 * 86400
"""Seconds after which a snapshot is one that somebody was killed with."""


class FileVolumes(VolumeSource):
    """Every regular file of a directory is a volume, named like the file."""

    OPTIONS = (
        Option('path', OptionType.PATH, sample='/var/lib/libvirt/images', help=(
            'A directory: each regular file in it is a volume, named like the file. Links, names '
            'that begin with a dot, and what is in directories below are left out. Volumes that '
            'are made for restores are files in it. Either this or map_file is required.')),
        Option('pattern', default='*', help=(
            'Which names in the directory are volumes, as a shell matches them, like *.img.')),
        Option('map_file', OptionType.PATH, sample='/etc/backup_framework/volumes.map', help=(
            'A file with lines NAME = PATH, which name image files and block devices anywhere. An '
            'empty line or one that begins with # says nothing. A NAME that is a UUID is the id '
            'of the volume too. Read anew each time. Nothing can be made with it.')),
        Option('snapshots', OptionType.BOOLEAN, default=True, help=(
            'Back a volume of the directory up that is in use from a copy that shares its blocks, '
            'taken at one moment, where the file system makes such copies (XFS, btrfs).')),
        Option('keep_snapshot', OptionType.BOOLEAN, default=False, help=(
            'Take such a copy for each backup, and keep the one of the last backup: the next '
            'incremental one reads only what they do not share. It costs the space of what '
            'changes in between.')),
    )

    def __init__(self, settings: model.Settings, context: object = None) -> None:
        if (settings.path is None) == (settings.map_file is None):
            raise exceptions.ConfigurationError('give either path or map_file')
        self._directory: str | None = settings.path
        self._map_file: str | None = settings.map_file
        self._pattern: str = settings.pattern
        self._snapshots: bool = settings.snapshots and settings.path is not None
        self._keeps: bool = settings.keep_snapshot and settings.path is not None

    def capabilities(self) -> Capabilities:
        return Capabilities(creates=self._directory is not None, keeps=self._keeps,
                            snapshots=self._snapshots or self._keeps,
                            repeats=self._directory is not None, shared=True)

    # Listing.

    def volumes(self) -> Iterator[Volume]:
        if self._directory is None:
            for name, path in sorted(self._mapped().items()):
                yield _mapped_volume(name, path)
            return
        for name in sorted(self._names()):
            with contextlib.suppress(exceptions.VolumeNotFound):  # it has just gone
                yield self._volume(name)

    def _names(self) -> Iterator[str]:
        with _told(f'list {self._directory}'), os.scandir(self._directory) as entries:
            for entry in entries:
                if self._is_name(entry.name) and entry.is_file(follow_symlinks=False):
                    yield entry.name

    def _is_name(self, name: str) -> bool:
        """Whether it could be a volume's; what is hidden is ours, or nobody's business."""
        try:
            name.encode()
        except UnicodeEncodeError:
            return False
        return (not name.startswith('.') and '/' not in name and '\0' not in name and name != ''
                and fnmatch.fnmatchcase(name, self._pattern))

    def _volume(self, name: str) -> Volume:
        path = os.path.join(str(self._directory), name)
        try:
            with self._opened(name) as file:
                return Volume(name=name, source_id=name, path=path,
                              size_bytes=source.size_of(file), status=_status(file))
        except (exceptions.VolumeError, exceptions.InvalidVolume):
            return Volume(name=name, source_id=name, path=path, status='error')

    def _mapped(self) -> dict[str, str]:
        """:raises ConfigurationError: the map cannot be read, or a line makes no sense."""
        try:
            with open(str(self._map_file), 'rb') as file:
                lines = file.read(_LONGEST_MAP).decode().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise exceptions.ConfigurationError(f'map_file: cannot read {self._map_file}: {error}'
                                                ) from None
        found: dict[str, str] = {}
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.lstrip().startswith('#'):
                continue
            name, _, path = (part.strip() for part in line.partition('='))
            if not name or not os.path.isabs(path) or name in found:
                raise exceptions.ConfigurationError(
                    f'{self._map_file}: line {number} must be NAME = PATH, the path absolute and '
                    'the name used once')
            found[name] = path
        return found

    # Reading.

    @contextlib.contextmanager
    def open(self, volume: Volume, snapshot: Snapshot | None = None, *,
             since: str | None = None, key: str | None = None) -> Iterator[Reading]:
        if snapshot is None:
            with self._file(volume) as file:
                yield Reading(file, source.size_of(file))
            return
        name = self._snapshot_name(volume, snapshot)
        with self._opened(name) as file:
            size = source.size_of(file)
            changed = self._changed(volume, file, since) if since and self._keeps else None
            yield Reading(file, size, changed, since if changed is not None else None,
                          name if self._keeps else None)

    def _changed(self, volume: Volume, file: io.FileIO, since: str) -> Sequence[Extent] | None:
        try:
            kept = self._opened(_kept_name(self._known(volume), since))
        except (exceptions.VolumeNotFound, exceptions.InvalidVolume, exceptions.VolumeError):
            return None
        with kept:
            return fiemap.differing(file.fileno(), kept.fileno())

    def _file(self, volume: Volume) -> io.FileIO:
        name = self._known(volume)
        if self._directory is None:
            return source.open_volume(self._mapped()[name])
        return self._opened(name)

    def _known(self, volume: Volume) -> str:
        """The name of a volume that is offered, whoever asks for it.

        :raises VolumeNotFound: it is not.
        """
        name = volume.source_id or ''
        known = name in self._mapped() if self._directory is None else self._is_name(name)
        if not known:
            raise exceptions.VolumeNotFound(f'there is no volume {name!r} in {self._place}')
        return name

    @property
    def _place(self) -> str:
        return str(self._directory or self._map_file)

    def _opened(self, name: str) -> io.FileIO:
        """A regular file right in the directory; a link is none.

        :raises VolumeNotFound, InvalidVolume, VolumeError: as `source.open_volume`.
        """
        path = os.path.join(str(self._directory), name)
        try:
            if not stat.S_ISREG(os.lstat(path).st_mode):
                raise exceptions.InvalidVolume(f'{path} is no regular file')
            file = io.FileIO(path, 'rb', opener=_without_following)
        except FileNotFoundError:
            raise exceptions.VolumeNotFound(f'there is no volume {path}') from None
        except OSError as error:
            raise exceptions.VolumeError(f'cannot read {path}: {error.strerror}') from error
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise exceptions.InvalidVolume(f'{path} is no regular file')
        return file

    # Writing.

    @contextlib.contextmanager
    def open_target(self, volume: Volume, *, key: str | None = None
                    ) -> Iterator[str | BinaryIO]:
        with self._file(volume) as file:
            path = str(file.name)
            if _status(file) == 'in-use' or source.writable_mounts(path):
                raise exceptions.InvalidTarget(f'{path} is in use: others write to it')
        yield path

    def create(self, name: str, size_bytes: int, project_id: str | None = None, *,
               key: str | None = None) -> Volume:
        if self._directory is None:
            return super().create(name, size_bytes, project_id)
        with _told(f'make a volume in {self._directory}'):
            fd, path = self._made_for(key) or self._new(self._free_names(name))
            try:
                with os.fdopen(fd, 'wb') as file:
                    if key is not None:
                        with contextlib.suppress(OSError):  # a file system may have none
                            os.setxattr(fd, _MADE_FOR, key.encode())
                    file.truncate(size_bytes)
                    os.fsync(file.fileno())
                directories.sync(self._directory)
            except BaseException:
                os.unlink(path)
                raise
        return self._volume(os.path.basename(path))

    def _made_for(self, key: str | None) -> tuple[int, str] | None:
        """The volume that was made for this key, by a process that was killed then."""
        for name in self._names() if key is not None else ():
            path = os.path.join(str(self._directory), name)
            with contextlib.suppress(OSError):
                if os.getxattr(path, _MADE_FOR, follow_symlinks=False) == str(key).encode():
                    return os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC), path
        return None

    def _free_names(self, wanted: str) -> Iterator[str]:
        """Names that stay in the directory and fit its pattern, the nicest first."""
        plain = _STRANGE.sub('-', wanted).strip('.-')[:_LONGEST_NAME] or 'volume'
        before, star, behind = self._pattern.partition('*')
        if not star or re.search('[][*?]', before + behind):
            before = behind = ''
        plain = plain.removeprefix(before).removesuffix(behind) or 'volume'
        yield f'{before}{plain}{behind}'
        while True:
            yield f'{before}{plain}-{secrets.token_hex(4)}{behind}'

    def _new(self, names: Iterator[str]) -> tuple[int, str]:
        for name in names:
            if not self._is_name(name):
                raise exceptions.Refused(
                    f'no volume can be made in {self._directory}: the pattern {self._pattern} fits '
                    'no new name; one like *.img does')
            path = os.path.join(str(self._directory), name)
            with contextlib.suppress(FileExistsError):
                return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC,
                               0o600), path
        raise AssertionError('names do not end')

    # Snapshots: hidden files beside the volume that share its blocks.

    def make_snapshot(self, volume: Volume, *, key: str | None = None) -> Snapshot:
        if not self.capabilities().snapshots:
            return super().make_snapshot(volume)
        if key is not None:
            self.drop_snapshot(volume, key)
        self._remove_others(_SNAPSHOT, self._known(volume), older_than=_ABANDONED)
        with self._file(volume) as file:
            name = self._name_for(volume, key or secrets.token_hex(8))
            with _told(f'make a snapshot of {file.name}'):
                try:
                    _clone(file, os.path.join(str(self._directory), name))
                except OSError as error:
                    if error.errno not in _NO_CLONE:
                        raise
                    raise exceptions.Refused(
                        f'in {self._directory} no copy can be made that shares blocks with '
                        f'{self._known(volume)} ({error.strerror}): that takes XFS or btrfs, and '
                        'leave to write there; or write snapshots = no') from None
            return Snapshot(volume_id=volume.id, source_id=name, name=name,
                            size_bytes=source.size_of(file), created_at=model.utcnow())

    def drop_snapshot(self, volume: Volume, key: str) -> None:
        if not self.capabilities().snapshots:
            return super().drop_snapshot(volume, key)
        self._remove(self._name_for(volume, key))

    def _name_for(self, volume: Volume, key: str) -> str:
        digits = hashlib.sha256(key.encode()).hexdigest()[:16]
        return f'.{self._known(volume)}.{digits}.snapshot'

    def delete_snapshot(self, volume: Volume, snapshot: Snapshot) -> None:
        self._remove(self._snapshot_name(volume, snapshot))

    def keep(self, volume: Volume, taken: str, backup_id: str) -> None:
        if not self._keeps:
            return super().keep(volume, taken, backup_id)
        name = self._snapshot_name(volume, Snapshot(source_id=taken))
        kept = _kept_name(self._known(volume), backup_id)
        with _told(f'keep {taken}'):
            os.rename(os.path.join(str(self._directory), name),
                      os.path.join(str(self._directory), kept))
        self._remove_others(_KEPT, self._known(volume), but=kept)

    def _remove_others(self, form: re.Pattern[str], name: str, *, but: str = '',
                       older_than: float = 0.0) -> None:
        """Hidden files of a volume that nobody wants any more."""
        with _told(f'list {self._directory}'):
            names = os.listdir(self._directory)
        for found in filter(None, map(form.fullmatch, names)):
            path = os.path.join(str(self._directory), found[0])
            if found['name'] == name and found[0] != but:
                with contextlib.suppress(FileNotFoundError):
                    if os.lstat(path).st_ctime <= time.time() - older_than:
                        self._remove(found[0])

    def _remove(self, name: str) -> None:
        path = os.path.join(str(self._directory), name)
        with _told(f'remove {path}'), contextlib.suppress(FileNotFoundError):
            # Where nothing can be written what is not there cannot be removed either.
            if os.path.lexists(path):
                os.unlink(path)

    def _snapshot_name(self, volume: Volume, snapshot: Snapshot) -> str:
        """:raises VolumeNotFound: it is none of this volume's."""
        name = snapshot.source_id or ''
        match = _SNAPSHOT.fullmatch(name)
        if self._directory is None or match is None or match['name'] != self._known(volume):
            raise exceptions.VolumeNotFound(
                f'{name!r} is no snapshot of a volume in {self._place}')
        return name

    def close(self) -> None:
        """Nothing stays open."""


def _kept_name(name: str, backup_id: str) -> str:
    """:raises VolumeNotFound: no backup has such an id."""
    made = f'.{name}.{backup_id}.kept'
    match = _KEPT.fullmatch(made)
    if match is None or match['name'] != name:
        raise exceptions.VolumeNotFound(f'{backup_id!r} is no id of a backup')
    return made


def _clone(file: io.FileIO, path: str) -> None:
    """Make a file that shares the blocks of another; where that fails there is none."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.ioctl(fd, _FICLONE, file.fileno())
        os.fsync(fd)
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(fd)


def _mapped_volume(name: str, path: str) -> Volume:
    volume = Volume(name=name, source_id=name, path=path, status='error')
    with contextlib.suppress(ValueError):
        if str(uuid.UUID(name)) == name:
            volume.id = name
    with (contextlib.suppress(exceptions.VolumeNotFound, exceptions.Refused,
                              exceptions.VolumeError),
          source.open_volume(path) as file):
        volume.size_bytes = source.size_of(file)
        volume.status = 'in-use' if source.writable_mounts(path) else _status(file)
    return volume


def _status(file: io.FileIO) -> str:
    """In use where somebody has the file open for writing, a loop device included.

    The kernel gives a lease for reading only where nobody has. Its owner may ask, and root.
    """
    try:
        # Who opens it for writing in this moment must not end us with the signal for it.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return 'in-use' if error.errno == errno.EAGAIN else 'available'
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return 'available'


def _without_following(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """:raises NoSpace, VolumeError: what the kernel says."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise (exceptions.NoSpace if full else exceptions.VolumeError)(
            f'cannot {what}: {error.strerror or error}') from error
