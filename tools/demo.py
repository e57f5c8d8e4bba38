"""`make demo`: a real disk image backed up, backed up again, verified, restored and compared.

Runs the command line as a user would, with its defaults, in a directory that is removed at the
end. Ends with 1 and a sentence when a command fails or a restored byte differs. `make demo-stores`
does the same with more stores, on what is shared here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import types
from typing import NoReturn

MIB = 1024 * 1024
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
CONFIGURATION = '/etc/backup_framework'
SYSTEM_PATH = os.pathsep.join([os.environ.get('PATH', ''), '/usr/sbin', '/sbin'])


Files = Sequence[tuple[pathlib.Path, pathlib.PurePath]]


class DemoFailed(Exception):
    """Something differs from what it should be; the text says what."""


class Interrupted(Exception):
    """A signal came; its number is the argument."""


@dataclasses.dataclass(frozen=True)
class Volume:
    """The image, a copy of it as it was at first, and what changes the image."""

    image: pathlib.Path
    first: pathlib.Path
    change: Callable[[], None]


@dataclasses.dataclass
class Step:
    """One line of the closing table: `volume` with its holes, `data` without them."""

    what: str
    seconds: float
    volume: int
    data: int
    stored: int | None = None


class Demo:
    """The command line, run in a directory of its own; keeps what each step took."""

    def __init__(self, directory: pathlib.Path, configuration: pathlib.Path | None = None) -> None:
        self.directory = directory
        self.steps: list[Step] = []
        # Nothing of a configuration that this machine may have.
        self.options = ['--config-file', str(configuration or os.devnull)] if (
            configuration or os.path.exists(CONFIGURATION)) else []
        self.environment = dict(
            os.environ, PATH=f'{pathlib.Path(sys.executable).parent}{os.pathsep}{SYSTEM_PATH}',
            NO_PROXY='*', no_proxy='*', XDG_STATE_HOME=str(directory / 'state'),
            OS_DEFAULT__STATE_PATH=str(directory / 'state' / 'backup_framework'))

    def run(self, *arguments: object, show: bool = True) -> tuple[str, float]:
        """What the command printed, and its seconds."""
        command = ['backup-framework', *self.options, *map(str, arguments)]
        say(f'\n$ {shlex.join(command)}')
        begin = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=self.directory,
                              env=self.environment, check=False)
        seconds = time.monotonic() - begin
        if show or done.returncode:
            say(done.stdout.rstrip())
        if done.returncode:
            raise DemoFailed(f'"{shlex.join(command)}" ended with {done.returncode}.')
        return done.stdout, seconds

    def create(self, image: pathlib.Path, *arguments: str, label: str = '') -> None:
        """Back the image up, and check that the backup is of the kind that was asked for."""
        output, seconds = self.run('backup', 'create', image.name, *arguments, '-f', 'json',
                                   show=False)
        backup = json.loads(output)
        kind = 'incremental' if backup['is_incremental'] else 'full'
        say(f'{backup["name"]}: {backup["status"]}, {kind}, id {backup["id"]}, '
            f'{backup["object_count"]} objects, {mebibytes(backup["stored_bytes"])} stored')
        if ('--incremental' in arguments) != backup['is_incremental']:
            raise DemoFailed(f'The backup of {backup["name"]} is {kind}.')
        self.add(f'{label}backup, {kind}', seconds, image, stored=backup['stored_bytes'])

    def verify(self, *images: pathlib.Path) -> None:
        """Verify all backups, which are of these images."""
        _, seconds = self.run('backup', 'verify', '--all')
        self.add('verify, all', seconds, *images)

    def restore(self, backup: str, original: pathlib.Path, what: str | None = None) -> None:
        """Restore to a new file and compare it with the image as it was."""
        target = self.directory / f'restored-{backup}.img'
        _, seconds = self.run('backup', 'restore', backup, target.name)
        self.add(what or f'restore {backup}', seconds, original)
        compare(original, target)
        say(f'{target.name} and {original.name} are equal in all '
            f'{original.stat().st_size:,} bytes.')

    def add(self, what: str, seconds: float, *images: pathlib.Path,
            stored: int | None = None) -> None:
        found = [image.stat() for image in images]
        self.steps.append(Step(what, seconds, sum(stat.st_size for stat in found),
                               sum(stat.st_blocks * 512 for stat in found), stored))


def say(text: str) -> None:
    if text:
        print(text, flush=True)


def mebibytes(size: int | None) -> str:
    return '' if size is None else f'{size / MIB:.1f} MiB'


def tool(name: str, *arguments: object) -> None:
    """Run a program of e2fsprogs."""
    done = subprocess.run([name, *map(str, arguments)], env=dict(os.environ, PATH=SYSTEM_PATH),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise DemoFailed(f'{name} ended with {done.returncode}: {done.stdout.strip()}')


def real_files(room: int) -> Iterator[tuple[pathlib.Path, pathlib.PurePath]]:
    """Files of Python's library and of what is installed beside it, with a name for each.

    :param room: bytes that they have together at most.
    """
    largest = room // 8
    for part in ('stdlib', 'purelib'):
        root = pathlib.Path(sysconfig.get_path(part))
        for path in sorted(root.rglob('*')):
            name = path.relative_to(root)
            if not path.is_file() or {'site-packages', '__pycache__', 'test'} & set(name.parts):
                continue
            size = path.stat().st_size
            if size <= min(room, largest):
                room -= size
                yield path, part / name


def make_volume(directory: pathlib.Path, size: int) -> Volume:
    """An image of this size: three eighths of it real files, the rest mostly holes."""
    image, first = directory / 'disk.img', directory / 'monday.img'
    files = list(real_files(size * 3 // 8))
    if all(shutil.which(name, path=SYSTEM_PATH) for name in ('mke2fs', 'debugfs', 'e2fsck')):
        make_file_system(directory, image, size, files)
        change = functools.partial(change_file_system, directory, image, files)
    else:
        say('No e2fsprogs here: the image is a tar instead of a file system.')
        make_tar(image, size, files)
        change = functools.partial(change_bytes, image, size)
    say(f'Made {image}: {mebibytes(image.stat().st_size)} with '
        f'{mebibytes(image.stat().st_blocks * 512)} of data, the rest holes.')
    sparse_copy(image, first)
    return Volume(image, first, change)


def make_file_system(directory: pathlib.Path, image: pathlib.Path, size: int,
                     files: Files) -> None:
    """An ext4 image with real files in it, and holes where nothing was written."""
    root = directory / 'files'
    for path, name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, root / name)
    tool('mke2fs', '-q', '-t', 'ext4', '-d', root, image, f'{size // MIB}M')


def change_file_system(directory: pathlib.Path, image: pathlib.Path, files: Files) -> None:
    """Write a new file into the file system and remove one, as a day's work would."""
    news = directory / 'news'
    news.write_bytes(b''.join(path.read_bytes() for path, _ in files[:200])[:4 * MIB])
    script = directory / 'changes'
    script.write_text(f'write {news} news\nrm {files[0][1]}\n')
    tool('debugfs', '-w', '-f', script, image)
    tool('e2fsck', '-fn', image)


def make_tar(image: pathlib.Path, size: int, files: Files) -> None:
    """Without e2fsprogs: the same files in a tar, with a hole behind them."""
    with tarfile.open(image, 'w') as tar:
        for path, name in files:
            tar.add(path, str(name))
    os.truncate(image, size)


def change_bytes(image: pathlib.Path, size: int) -> None:
    """Overwrite some ranges of the image."""
    with open(image, 'r+b') as volume:
        for offset in range(MIB, size * 3 // 8, 16 * MIB):
            volume.seek(offset)
            volume.write(os.urandom(MIB // 2))


def sparse_copy(source: pathlib.Path, target: pathlib.Path) -> None:
    zeros = bytes(MIB)
    with open(source, 'rb') as reader, open(target, 'wb') as writer:
        while block := reader.read(MIB):
            if block == zeros[:len(block)]:
                writer.seek(len(block), os.SEEK_CUR)
            else:
                writer.write(block)
        writer.truncate(source.stat().st_size)


def compare(wanted: pathlib.Path, found: pathlib.Path) -> None:
    """Byte by byte; says where the first difference is."""
    if wanted.stat().st_size != found.stat().st_size:
        raise DemoFailed(f'{found.name} has {found.stat().st_size:,} bytes; '
                         f'{wanted.name} has {wanted.stat().st_size:,}.')
    position = 0
    with open(wanted, 'rb') as left, open(found, 'rb') as right:
        while block := left.read(MIB):
            other = right.read(MIB)
            if block != other:
                position += next(i for i, pair in enumerate(zip(block, other)) if len({*pair}) > 1)
                raise DemoFailed(f'{found.name} differs from {wanted.name} at byte {position:,}.')
            position += len(block)


def table(steps: list[Step]) -> Iterator[str]:
    width = max(len(step.what) for step in steps)
    line = (f'{{:<{width}}}' + ' {:>8} {:>11} {:>11} {:>11} {:>6}').format
    yield line('step', 'seconds', 'volume', 'data', 'stored', 'MB/s')
    for step in steps:
        yield line(step.what, f'{step.seconds:.2f}', mebibytes(step.volume), mebibytes(step.data),
                   mebibytes(step.stored), f'{step.data / step.seconds / 1e6:.0f}')


def close(demo: Demo) -> None:
    say('\n' + '\n'.join(table(demo.steps)))
    say('\nSeconds are those of whole commands; data, and MB/s, leave holes out.')


def demonstrate(directory: pathlib.Path) -> None:
    volume = make_volume(directory, 256 * MIB)
    demo = Demo(directory)
    demo.create(volume.image, '--name', 'monday')
    volume.change()
    say('\nThe image was changed.')
    demo.create(volume.image, '--incremental', '--name', 'tuesday')
    demo.verify(volume.first, volume.image)
    demo.run('backup', 'list')
    demo.restore('tuesday', volume.image)
    demo.restore('monday', volume.first)
    close(demo)


def ignore_signals() -> None:
    """From now on nothing interrupts what tidies up."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def interrupt(number: int, frame: types.FrameType | None) -> NoReturn:
    ignore_signals()
    raise Interrupted(number)


def run(demonstration: Callable[[pathlib.Path], None]) -> int:
    """Demonstrate in a directory that is removed whatever happens; gives the exit code."""
    for number in SIGNALS:
        signal.signal(number, interrupt)
    try:
        with tempfile.TemporaryDirectory(prefix='backup-demo-') as directory:
            try:
                demonstration(pathlib.Path(directory))
            finally:
                ignore_signals()
    except DemoFailed as error:
        print(f'The demo failed: {error}', file=sys.stderr)
        return 1
    except Interrupted as error:
        print('The demo was interrupted; what it made is removed.', file=sys.stderr)
        return 128 + int(error.args[0])
    return 0


if __name__ == '__main__':
    sys.exit(run(demonstrate))
