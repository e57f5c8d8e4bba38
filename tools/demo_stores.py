"""`make demo-stores`: one image backed up to three stores, restored from each and compared.

The stores are a directory, an SSH server and an emulator of Google Cloud Storage. Both servers are
started for this, on loopback, and ended with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import contextlib
import pathlib
import sys
from typing import Any

# Started as a file, this has its own directory on the path, and not the one above.
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from tools import demo
from tools.servers import gcs, sshd

Section = Mapping[str, Any]


@contextlib.contextmanager
def stores(directory: pathlib.Path) -> Iterator[dict[str, Section]]:
    """A backend's section for each store; the servers behind them run until the block ends."""
    with contextlib.ExitStack() as servers:
        try:
            server = servers.enter_context(sshd.serving())
            emulator = servers.enter_context(gcs.fake_gcs_server())
        except sshd.Missing as error:
            raise demo.DemoFailed(
                f'{error}. Install the Debian packages openssh-server and openssh-client, which '
                '"make system-deps" does') from error
        except gcs.Missing as error:
            raise demo.DemoFailed(f'{error}. "make clean" and "make demo-stores" install what '
                                  'there is for this machine') from error
        try:
            yield {
                'local': {'driver': 'local', 'path': directory / 'store'},
                'sftp': {'driver': 'sftp', **server.options()},
                'gcs': {'driver': 'gcs', 'bucket': 'demo-backups', 'endpoint': emulator.url,
                        'anonymous': 'yes'}}
        finally:
            demo.ignore_signals()


def write_configuration(path: pathlib.Path, backends: Mapping[str, Section]) -> None:
    """An INI file with these backends."""
    sections = {'DEFAULT': {'enabled_backends': ', '.join(backends)}, **backends}
    path.write_text('\n'.join(
        f'[{name}]\n' + ''.join(f'{option} = {_spelled(value)}\n'
                                for option, value in section.items())
        for name, section in sections.items()))


def _spelled(value: object) -> str:
    """In such files `$` begins a reference."""
    return str(value).replace('$', '$$')


def demonstrate(directory: pathlib.Path) -> None:
    with stores(directory) as backends:
        configuration = directory / 'stores.conf'
        write_configuration(configuration, backends)
        demo.say(f'{configuration}:\n\n{configuration.read_text()}')
        volume = demo.make_volume(directory, 128 * demo.MIB)
        show(demo.Demo(directory, configuration), volume, list(backends))


def show(command: demo.Demo, volume: demo.Volume, backends: list[str]) -> None:
    """Two nights on each backend, then all of it back."""
    for backend in backends:
        command.create(volume.image, '--backend', backend, '--name', f'monday-{backend}',
                       label=f'{backend}: ')
    volume.change()
    demo.say('\nThe image was changed.')
    for backend in backends:
        command.create(volume.image, '--backend', backend, '--incremental',
                       '--name', f'tuesday-{backend}', label=f'{backend}: ')
    for backend in backends:
        command.run('backend', 'check', backend, '--no-speed')
    command.verify(*[volume.first, volume.image] * len(backends))
    command.run('backup', 'list')
    for backend in backends:
        command.restore(f'tuesday-{backend}', volume.image, f'{backend}: restore')
    demo.close(command)


if __name__ == '__main__':
    sys.exit(demo.run(demonstrate))
