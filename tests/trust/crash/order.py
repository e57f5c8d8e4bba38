"""The order of durability steps: what must have reached the disk before what."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import os
import re

CALLS = ('openat,write,pwrite64,ftruncate,fsync,fdatasync,link,linkat,rename,renameat,renameat2,'
         'unlink,unlinkat,mkdir,mkdirat')
"""What strace is to show."""

_LINE = re.compile(r'(\d+) +(\w+)\((.*)\) += (\d+)(?:<.*>)?$')
_BEGUN = re.compile(r'(\d+) +(.*?) *<unfinished \.\.\.>$')
_RESUMED = re.compile(r'(\d+) +<\.\.\. \w+ resumed>(.*)$')
_DESCRIPTOR = re.compile(r'\d+<([^>]*?)(?: \(deleted\))?>')
_AT = re.compile(r'(?:AT_FDCWD|\d+)<([^>]*)>, "([^"]*)"')
_PLAIN = re.compile(r'"([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that was done when its call returned.

    :param kind: write, sync, publish, unlink, mkdir, rmdir, commit (of the catalog), or say (on
        stdout).
    :param source: of a publish: the name that the file had.
    """

    kind: str
    path: str
    source: str = ''


def read_trace(text: str, stdout: str) -> list[Event]:
    """The events of a trace of `strace -f -y`, in the order in which the calls returned."""
    begun: dict[str, str] = {}
    events = []
    for line in text.splitlines():
        if match := _BEGUN.match(line):
            begun[match[1]] = match[2]
            continue
        if match := _RESUMED.match(line):
            line = f'{match[1]} {begun.pop(match[1])}{match[2]}'
        if match := _LINE.match(line):
            events += _event(match[2], match[3], stdout)
    return events


def _event(call: str, arguments: str, stdout: str) -> list[Event]:
    if call in ('write', 'pwrite64', 'ftruncate', 'fsync', 'fdatasync'):
        found = _DESCRIPTOR.match(arguments)
        path = found[1] if found else ''
        if call.startswith('f') and call != 'ftruncate':
            return [Event('sync', path)]
        return [Event('say' if path == stdout else 'write', path)]
    paths = ([os.path.join(*pair) for pair in _AT.findall(arguments)]
             or _PLAIN.findall(arguments))
    if call == 'openat':
        return [Event('make', paths[0])] if 'O_CREAT' in arguments else []
    if call.startswith(('link', 'rename')):
        return [Event('publish', paths[1], paths[0])]
    if call.startswith('unlink') and paths[0].endswith('catalog.sqlite-journal'):
        return [Event('commit', os.path.dirname(paths[0]))]
    if call.startswith('unlink'):
        return [Event('rmdir' if 'AT_REMOVEDIR' in arguments else 'unlink', paths[0])]
    return [Event('mkdir', paths[0])]


class Order:
    """The events of a command, asked what was durable when.

    :param store: the directory of its store.
    """

    def __init__(self, events: Sequence[Event], store: str) -> None:
        self.events = events
        self._store = store

    def objects(self) -> list[int]:
        """Where objects got their names."""
        return [at for at, event in enumerate(self.events)
                if event.kind == 'publish' and self._is_stored(event.path)]

    def _is_stored(self, path: str) -> bool:
        return path.startswith(f'{self._store}/')

    def first(self, kind: str, path: str = '', after: int = -1) -> int:
        """Where this was done first behind `after`; one past the end where it was not."""
        return next((at for at, event in enumerate(self.events)
                     if at > after and event.kind == kind and path in ('', event.path)),
                    len(self.events))

    def check_backup(self, *, catalog: bool = True) -> int:
        """How many objects were checked: each whole before it has its name, all before the
        manifest, that before the commit in the catalog, and that before anything is said.
        """
        objects = self.objects()
        manifest = objects[-1]
        assert self.events[manifest].path.endswith('_metadata'), self.events[manifest]
        for at in objects:
            self._check_whole(at)
        for at in objects[:-1]:
            self._check_durable(at, manifest)
        commit = self.first('commit', after=manifest)
        assert commit < len(self.events)
        self._check_durable(manifest, commit)
        self._check_directories(manifest)
        if catalog:
            self._check_commit(commit)
        return len(objects)

    def check_delete(self) -> int:
        """How many objects were checked: recorded as being deleted, the manifest gone for good,
        then the rest, then the record.
        """
        gone = [at for at, event in enumerate(self.events)
                if event.kind == 'unlink' and self._is_object(event.path)]
        manifest = gone[0]
        assert self.events[manifest].path.endswith('_metadata'), self.events[manifest]
        assert sum(event.kind == 'commit' for event in self.events[:manifest]) >= 2
        for at in gone[1:]:
            self._check_durable(manifest, at)
        commit = self.first('commit', after=gone[-1])
        assert commit < len(self.events), 'the record went before the objects'
        for at in gone:
            if os.path.isdir(os.path.dirname(self.events[at].path)):
                self._check_durable(at, commit)
        return len(gone)

    def _is_object(self, path: str) -> bool:
        return self._is_stored(path) and not os.path.basename(path).startswith('.')

    def check_restore(self, target: str) -> int:
        """How many writes were checked: synced before the name, which is synced before a word."""
        published = self.first('publish', target)
        self._check_whole(published)
        self._check_durable(published, self.first('say'))
        source = self.events[published].source
        return sum(event.kind == 'write' and event.path == source for event in self.events)

    def _check_whole(self, at: int) -> None:
        """The file was synced behind its last write, and before it got its name."""
        source = self.events[at].source
        written = max((number for number, event in enumerate(self.events[:at])
                       if event.kind == 'write' and event.path == source), default=-1)
        assert self.first('sync', source, written) < at, f'{self.events[at]} was not synced before'
        late = self.first('write', source, at)
        assert late == len(self.events), f'{self.events[at]} was written to afterwards'

    def _check_durable(self, at: int, before: int) -> None:
        """The name that was given or taken was made durable."""
        directory = os.path.dirname(self.events[at].path)
        synced = self.first('sync', directory, at)
        assert synced < before, f'{directory} was not synced between {self.events[at]} and ' + (
            str(self.events[before]) if before < len(self.events) else 'the end')

    def _check_directories(self, manifest: int) -> None:
        for at, event in enumerate(self.events):
            if event.kind == 'mkdir' and self._is_stored(event.path):
                self._check_durable(at, manifest)

    def _check_commit(self, commit: int) -> None:
        """SQLite's commit is the end of its journal; its directory is synced then. Whatever of the
        installation is new is durable, too.
        """
        state, said = self.events[commit].path, self.first('say')
        assert self.first('sync', state, commit) < said, 'said before the catalog was durable'
        written = [at for at, event in enumerate(self.events[:commit])
                   if event.kind == 'write' and event.path == f'{state}/catalog.sqlite']
        assert written[-1] < self.first('sync', f'{state}/catalog.sqlite', written[-1]) < commit
        for at, event in enumerate(self.events):
            kept = f'{state}/installation'.startswith(event.path)
            if event.kind in ('mkdir', 'publish') and kept:
                self._check_durable(at, said)
