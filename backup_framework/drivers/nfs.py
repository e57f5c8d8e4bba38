"""The NFS driver: the local driver's files on a share, never on the disk below its mount point."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import fcntl
import hashlib
import logging
import os
import re
import subprocess
import threading
import time
from typing import Any

from backup_framework import exceptions, model
from backup_framework.drivers import local, tree
from backup_framework.engine import directories, mounts
from backup_framework.model import Option, OptionType

LOG = logging.getLogger(__name__)

SHARE = re.compile(r'(\[[0-9A-Fa-f:.]+(%\w+)?\]|[A-Za-z0-9_][\w.-]*):/[^\0\n]*')
MOUNT_TIMEOUT = 180.0
"""Seconds for one `mount`; it tries for two minutes itself."""
PATIENCE = 30.0
"""Seconds after which a call that has not come back is talked about."""


class MountedTree(tree.Tree):
    """A store's directory that has to be on a mounted share.

    Once found to be so it stays open, and all work is done relative to it: what is mounted or
    unmounted over its path later changes nothing.

    :param accepted: types of file systems, as in mountinfo.
    :param share: what to mount at `path` where nothing is mounted yet, or None.
    """

    def __init__(self, path: str, *, accepted: list[str], share: Share | None,
                 **writing_options: Any) -> None:
        super().__init__(path, **writing_options)
        self._accepted = accepted
        self._share = share
        self._held: int | None = None
        self._was_mounted = False
        self._lock = threading.Lock()

    def open_root(self, create: bool = False) -> int:
        with self._lock:
            if self._held is not None:
                return os.dup(self._held)
        return self.hold(create)

    def hold(self, create: bool) -> int:
        """Look again whether the share is mounted and keep it open; a descriptor of its own.

        :raises StoreError: it is not mounted; StoreUnavailable if it has been before.
        """
        if self._share is not None:
            self._share.mount_at(self.path)
        fd = super().open_root(create)
        with self._lock:
            old, self._held = self._held, os.dup(fd)
            self._was_mounted = True
        if old is not None:
            os.close(old)
        return fd

    def close(self) -> None:
        """Let the share be unmounted, or be looked for again."""
        with self._lock:
            old, self._held = self._held, None
        if old is not None:
            os.close(old)

    def admit(self, fd: int, path: str) -> None:
        mount = mounts.mount_of_descriptor(fd)
        if mount is not None and mount.fs_type in self._accepted:
            return
        kind = exceptions.StoreUnavailable if self._was_mounted else exceptions.StoreError
        found = f'{mount.fs_type} of {mount.source}' if mount else 'a file system not seen here'
        raise kind(f'the share for {self.path} is not mounted: {path} is on {found}, not on '
                   f'{" or ".join(self._accepted)}; mount it, or correct path or accepted_types')


class Share:
    """A share that is mounted when it is needed, once for all processes of this host.

    :param source: `host:/export`, an IPv6 address in brackets.
    :param options: of mount's -o, or None.
    """

    def __init__(self, source: str, options: str | None, attempts: int) -> None:
        if not SHARE.fullmatch(source):
            raise exceptions.ConfigurationError(
                f'share cannot be {source!r}: write host:/export, 192.0.2.1:/export or '
                '[2001:db8::1]:/export')
        if options is not None and options.startswith('-'):
            raise exceptions.ConfigurationError(
                f'mount_options cannot be {options!r}: write them as after -o of mount')
        self.source = source
        self._options = options
        self._attempts = attempts

    def point_below(self, base: str) -> str:
        return os.path.join(base, hashlib.sha256(self.source.encode()).hexdigest()[:32])

    def mount_at(self, point: str) -> None:
        """Mount it there unless it is.

        :raises StoreError: something else is mounted there, or mounting failed.
        """
        if self._is_mounted(point):
            return
        directories.make_private(os.path.dirname(point))
        with contextlib.suppress(FileExistsError):
            # Looking at the point itself first could wait for a server that does not answer.
            os.mkdir(point, mode=0o700)
        with _locked(f'{point}.lock'):
            if not self._is_mounted(point):
                self._mount(point)

    def _is_mounted(self, point: str) -> bool:
        # Asking for the point itself would wait for a server that does not answer.
        place = os.path.join(os.path.realpath(os.path.dirname(point)), os.path.basename(point))
        found = [mount for mount in mounts.mounts() if mount.mount_point == place]
        if not found:
            return False
        if found[-1].source.rstrip('/') != self.source.rstrip('/'):
            raise exceptions.StoreError(
                f'{found[-1].source} is mounted at {point}, where {self.source} belongs; unmount '
                'it or choose another mount_point_base')
        return True

    def _mount(self, point: str) -> None:
        options = ['-o', self._options] if self._options else []
        command = ['mount', '-t', 'nfs', *options, self.source, point]
        reason = ''
        for attempt in range(self._attempts):
            if attempt:
                time.sleep(min(2 ** attempt, 10) / 2)
            reason = _run(command)
            if not reason:
                return
        raise exceptions.StoreUnavailable(
            f'cannot mount {self.source} at {point}, tried {self._attempts} times: {reason}')


class HangWatch:
    """Says in the log which calls have not come back after a while, as on a dead hard mount.

    One thread looks at all open calls. It lives while there are any and a little longer.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._condition = threading.Condition()
        self._open: dict[object, tuple[float, str]] = {}
        self._watching = False

    def enter(self, doing: str) -> object:
        """A call begins; what is returned belongs to `leave`."""
        key = object()
        with self._condition:
            self._open[key] = (time.monotonic(), doing)
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name='nfs-watch', daemon=True).start()
        return key

    def leave(self, key: object) -> None:
        with self._condition:
            del self._open[key]

    def stop(self) -> None:
        """Let the thread go if no call is open."""
        with self._condition:
            self._condition.notify_all()

    def _watch(self) -> None:
        told: set[object] = set()
        while True:
            with self._condition:
                self._condition.wait(self._patience / 4)
                if not self._open:
                    self._watching = False
                    return
                calls = list(self._open.items())
            told &= {key for key, _ in calls}
            for key, (started, doing) in calls:
                waited = time.monotonic() - started
                if waited >= self._patience and key not in told:
                    told.add(key)
                    LOG.warning('the NFS server has not answered for %.0f s: still trying to %s',
                                waited, doing)


class NFSBackupDriver(local.LocalBackupDriver):
    """Keeps objects as files on an NFS share, and refuses to touch anything while it is gone.

    On a hard mount, calls wait for a server that does not answer; the log says so after 30 s.
    From its first verb until `close` the driver keeps the share busy: it cannot be unmounted.
    """

    OPTIONS: tuple[Option, ...] = (
        Option('path', OptionType.PATH, sample='/mnt/vault/backups', help=(
            'The directory that holds the store, inside a share that is mounted already. Made '
            'when it is missing. Give either path or share.')),
        Option('share', sample='vault.example.org:/backups', help=(
            'The share to mount: host:/export; an IPv6 address stands in brackets. Mounting '
            'needs root. The store is the top of the share.')),
        Option('mount_options', sample='vers=4.2,hard', help=(
            'Options for mounting the share, as after -o of mount. Never soft: a soft mount can '
            'lose written bytes without an error.')),
        Option('mount_point_base', OptionType.PATH, sample='$state_path/mnt', help=(
            'The directory in which the share gets a mount point of its own. Needed with share.')),
        Option('mount_attempts', OptionType.INTEGER, 3, minimum=1, maximum=100, help=(
            'How often mounting the share is tried.')),
        Option('accepted_types', OptionType.LIST, ['nfs', 'nfs4'], help=(
            'Types of file systems, as mount shows them, that count as a mounted share. On any '
            'other the share is taken to be not mounted, and nothing is read or written.')),
        *local.WRITING_OPTIONS)

    CINDER_CLASS = 'cinder.backup.drivers.nfs.NFSBackupDriver'

    def __init__(self, settings: model.Settings, context: Any = None) -> None:
        super().__init__(settings, context)
        self._watch = HangWatch(PATIENCE)

    def _make_tree(self) -> MountedTree:
        settings = self.settings
        if (settings.path is None) == (settings.share is None):
            raise exceptions.ConfigurationError(
                'an nfs store needs one of path and share, not both')
        if settings.path is not None:
            share, path = None, settings.path
        else:
            share = Share(settings.share, settings.mount_options, settings.mount_attempts)
            if settings.mount_point_base is None:
                raise exceptions.ConfigurationError(
                    'share needs mount_point_base, the directory to mount it in')
            path = share.point_below(os.path.abspath(settings.mount_point_base))
        self._mounted = MountedTree(path, accepted=list(settings.accepted_types), share=share,
                                    **self._writing_options())
        return self._mounted

    def before_operation(self, kind: str) -> None:
        """Look at the mount anew; the operation then works on what was found."""
        with self._io(f'begin to {kind}'):
            os.close(self._mounted.hold(create=kind == 'backup'))

    def close(self) -> None:
        super().close()
        self._watch.stop()

    @contextlib.contextmanager
    def _io(self, doing: str, container: str | None = None,
            name: str | None = None) -> Iterator[None]:
        """As in the local driver, and watched. After an outage the share is looked for again."""
        call = self._watch.enter(
            f'{local.sentence(doing, container, name)} in {self._mounted.path}')
        try:
            with super()._io(doing, container, name):
                yield
        except exceptions.StoreUnavailable:
            self._mounted.close()
            raise
        finally:
            self._watch.leave(call)


def _run(command: list[str]) -> str:
    """Run it; why it failed, in its own words, or nothing."""
    try:
        done = subprocess.run(command, env=os.environ | {'LC_ALL': 'C'}, timeout=MOUNT_TIMEOUT,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
    except subprocess.TimeoutExpired:
        return f'no answer for {MOUNT_TIMEOUT:.0f} s'
    except OSError as error:
        return f'{command[0]}: {error.strerror}'
    said = ' '.join(done.stdout.decode(errors='replace').split())
    return (said or f'it ended with {done.returncode}') if done.returncode else ''


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Hold a lock file; processes of this host wait for one another."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
