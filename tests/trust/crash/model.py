"""What a power cut may leave of a directory: calls are noted, then every legal state is made.

The model is weaker than any file system: the bytes of a file last from its fsync on, a name from
the fsync of its directory on, and neither makes the other last. What was not synced is there, or
is not, in any combination; unsynced bytes may be cut at a page or read as zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import itertools
import os
from pathlib import Path
import random
from typing import Any

PAGE = 4096
ALL_SUBSETS = 7
"""Names of which all combinations are tried; of more, the telling ones and some by chance."""
BY_CHANCE = 24


@dataclasses.dataclass(frozen=True)
class Step:
    """One call that changes something.

    :param kind: create, data, sync, sync_names, link, rename, unlink, mkdir, rmdir, or done (the
        operation `path` was reported as done).
    :param file: which file; numbers are not used again.
    :param data: all bytes of the file, where they changed.
    """

    kind: str
    path: str = ''
    to: str = ''
    file: int = 0
    data: bytes = b''


class Recorder:
    """Notes what this process changes below a directory, from `begin` on."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._numbers: dict[int, int] = {}
        self.steps: list[Step] = []

    def begin(self) -> None:
        """For as long as this process lives."""
        for name, note in {
                'write': self._data, 'pwrite': self._data, 'ftruncate': self._data,
                'fsync': self._sync, 'fdatasync': self._sync, 'link': self._moved('link'),
                'rename': self._moved('rename'), 'unlink': self._named('unlink'),
                'mkdir': self._named('mkdir'), 'rmdir': self._named('rmdir'),
                'open': self._open}.items():
            setattr(os, name, self._noting(getattr(os, name), note))

    def done(self, name: str) -> None:
        self.steps.append(Step('done', name))

    def _noting(self, function: Callable[..., Any], note: Callable[..., None]
                ) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            note(result, *args, **kwargs)
            return result
        return call

    def _add(self, kind: str, path: str, to: str = '', **more: Any) -> None:
        if path.startswith(f'{self._root}/') or path == self._root:
            self.steps.append(Step(kind, self._relative(path), self._relative(to), **more))

    def _relative(self, path: str) -> str:
        return path.removeprefix(self._root).strip('/')

    def _open(self, fd: int, path: Any, flags: int, mode: int = 0, *, dir_fd: int | None = None
              ) -> None:
        if flags & os.O_CREAT:
            self._numbers[os.fstat(fd).st_ino] = len(self.steps) + 1
            self._add('create', _absolute(path, dir_fd), file=len(self.steps) + 1)

    def _data(self, result: object, fd: int, *args: object) -> None:
        status = os.fstat(fd)
        with open(f'/proc/self/fd/{fd}', 'rb') as file:
            self._add('data', _path_of(fd), file=self._numbers.get(status.st_ino, 0),
                      data=file.read())

    def _sync(self, result: object, fd: int) -> None:
        if os.path.isdir(f'/proc/self/fd/{fd}'):
            self._add('sync_names', _path_of(fd))
        else:
            number = self._numbers.get(os.fstat(fd).st_ino, 0)
            self._add('sync', _path_of(fd), file=number)

    def _moved(self, kind: str) -> Callable[..., None]:
        def note(result: object, source: Any, to: Any, *, src_dir_fd: int | None = None,
                 dst_dir_fd: int | None = None, follow_symlinks: bool = True) -> None:
            self._add(kind, _absolute(source, src_dir_fd), _absolute(to, dst_dir_fd))
        return note

    def _named(self, kind: str) -> Callable[..., None]:
        def note(result: object, path: Any, mode: int = 0, *, dir_fd: int | None = None) -> None:
            self._add(kind, _absolute(path, dir_fd))
        return note


def _path_of(fd: int) -> str:
    return os.readlink(f'/proc/self/fd/{fd}').removesuffix(' (deleted)')


def _absolute(path: Any, dir_fd: int | None) -> str:
    text = os.fsdecode(path)
    return text if dir_fd is None else os.path.join(_path_of(dir_fd), text)


Names = dict[str, int]
"""Files by their paths; a directory is -1."""
Contents = dict[str, bytes | None]
"""What a disk holds: bytes by path; None is a directory."""


class Disk:
    """What of the steps so far lasts for certain, and what may."""

    def __init__(self) -> None:
        self.names: Names = {}
        self.lasting: Names = {}
        self.data: dict[int, bytes] = {}
        self.synced: dict[int, bytes] = {}
        self.pending: list[tuple[str, str, int | None]] = []
        """Changes of names that need not last: directory, path, the file or None for none."""

    def apply(self, step: Step) -> None:
        match step.kind:
            case 'create':
                self.data[step.file], self.synced[step.file] = b'', b''
                self._name(step.path, step.file)
            case 'data':
                self.data[step.file] = step.data
            case 'sync':
                self.synced[step.file] = self.data.get(step.file, b'')
            case 'sync_names':
                self._make_last(step.path)
            case 'mkdir':
                self._name(step.path, -1)
            case 'link':
                self._name(step.to, self.names[step.path])
            case 'rename':
                self._name(step.to, self.names[step.path])
                self._name(step.path, None)
            case 'unlink' | 'rmdir':
                self._name(step.path, None)

    def _name(self, path: str, file: int | None) -> None:
        self.pending.append((os.path.dirname(path), path, file))
        _set(self.names, path, file)

    def _make_last(self, directory: str) -> None:
        for above, path, file in self.pending:
            if above == directory:
                _set(self.lasting, path, file)
        self.pending = [each for each in self.pending if each[0] != directory]

    def states(self, chance: random.Random) -> Iterator[Contents]:
        """Every state that the disk may be in after a power cut now, within the bounds above."""
        hidden = [each for each in self.pending if _is_hidden(each[1])]
        telling = [each for each in self.pending if not _is_hidden(each[1])]
        for chosen in _subsets(telling, chance):
            # What is hidden is nobody's: with all of it, or with none.
            for also in ([], hidden) if hidden else ([],):
                names = dict(self.lasting)
                kept = [each for each in self.pending if each in chosen or each in also]
                for _, path, file in kept:
                    _set(names, path, file)
                yield from self._with_bytes(names)

    def _with_bytes(self, names: Names) -> Iterator[Contents]:
        """As many states as the worst unsynced file has: all files fare alike, or one alone."""
        visible = {path: file for path, file in names.items() if _is_reached(path, names)}
        torn = [file for path, file in visible.items()
                if file > 0 and self.data[file] != self.synced[file]]
        for chosen, data in [(0, b''), *((file, each) for file in torn
                                         for each in self._tearings(file))]:
            yield {path: None if file < 0 else data if file == chosen else self.synced[file]
                   for path, file in visible.items()}
        if torn:
            yield {path: None if each < 0 else self.data[each] for path, each in visible.items()}

    def _tearings(self, file: int) -> list[bytes]:
        data = self.data[file]
        half = len(data) // 2 // PAGE * PAGE
        return [data[:half], data[:half] + bytes(len(data) - half), data]


def _set(names: Names, path: str, file: int | None) -> None:
    if file is None:
        names.pop(path, None)
    else:
        names[path] = file


def _is_hidden(path: str) -> bool:
    return os.path.basename(path).startswith('.')


def _is_reached(path: str, names: Names) -> bool:
    """Whether all directories above are there."""
    above = os.path.dirname(path)
    return not above or (above in names and _is_reached(above, names))


def _subsets(items: Sequence[Any], chance: random.Random) -> Iterator[Sequence[Any]]:
    count = len(items)
    if count <= ALL_SUBSETS:
        for size in range(count + 1):
            yield from itertools.combinations(items, size)
        return
    for number in range(count + 1):
        yield items[:number]
        yield items[number:]
        yield [*items[:number], *items[number + 1:]]
    for _ in range(BY_CHANCE):
        yield [each for each in items if chance.random() < 0.5]


def crashes(steps: Sequence[Step], chance: random.Random
            ) -> Iterator[tuple[frozenset[str], Contents]]:
    """Each state that is new, with the names of the operations that were done by then."""
    disk, seen, done = Disk(), set(), frozenset[str]()
    for step in [Step('begin'), *steps]:
        if step.kind == 'done':
            done |= {step.path}
        disk.apply(step)
        for state in disk.states(chance):
            mark = hash((done, frozenset(state.items())))
            if mark not in seen:
                seen.add(mark)
                yield done, state


def make(state: Contents, root: Path) -> None:
    """Put it into an empty directory."""
    for path in sorted(state):
        data = state[path]
        if data is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(data)
