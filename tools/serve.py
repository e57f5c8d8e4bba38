"""`make serve`: the whole service on this machine, with a volume to back up, until Ctrl-C.

One process tree on SQLite, 127.0.0.1 and port 8776 (BF_PORT for another), for everybody who reaches
it. All that it keeps is in `.serve` beside this directory, or where BF_STATE says; the next start
goes on with that. To begin anew, remove the directory.
"""

from __future__ import annotations

from collections.abc import Sequence
import http.client
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types

# Started as a file, this has its own directory on the path, and not the one above.
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from tools import demo

HOST, PORT = '127.0.0.1', '8776'
SIZE = 64 * demo.MIB
SECONDS = 60.0
"""How long a busy machine may take until the API answers and the volume is offered."""

CONFIGURATION = """\
# Written by "make serve" once; change it as you like. Options: "backup-framework config sample".

[DEFAULT]
state_path = {state}

# Each file in the directory is a volume.
[volumes:demo]
type = file
path = {volumes}

[service]
check_interval = 5
"""


class NotServing(Exception):
    """The service did not start; the text says why."""


def prepare(place: pathlib.Path) -> pathlib.Path:
    """The configuration, and a volume, where they are not there yet; the path of the first."""
    volumes, configuration = place / 'volumes', place / 'backup_framework.conf'
    volumes.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not configuration.exists():
        if not any(volumes.iterdir()):
            make_volume(volumes / 'demo')
        configuration.write_text(CONFIGURATION.format(state=escaped(place / 'state'),
                                                      volumes=escaped(volumes)))
    return configuration


def escaped(path: pathlib.Path) -> str:
    """In such files `$` begins a reference."""
    return str(path).replace('$', '$$')


def make_volume(path: pathlib.Path) -> None:
    """An ext4 image with real files; without e2fsprogs a tar of them. There when it is whole."""
    files = list(demo.real_files(SIZE * 3 // 8))
    with tempfile.TemporaryDirectory(dir=path.parents[1]) as directory:
        aside = pathlib.Path(directory)
        if shutil.which('mke2fs', path=demo.SYSTEM_PATH):
            demo.make_file_system(aside, aside / 'image', SIZE, files)
        else:
            demo.make_tar(aside / 'image', SIZE, files)
        (aside / 'image').rename(path)


def port() -> int:
    """:raises NotServing: BF_PORT is none."""
    text = os.environ.get('BF_PORT') or PORT
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise NotServing(f'BF_PORT must be the number of a port, like {PORT}, not {text!r}.')
    return int(text)


def wait(server: subprocess.Popen[bytes], number: int) -> None:
    """Until the API answers and lists a volume.

    :raises NotServing: it has ended, which said why, or takes too long.
    """
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise NotServing('The service has ended; see above.')
        if b'"demo"' in answer(number, '/v3/demo/volumes'):
            return
        time.sleep(0.2)
    raise NotServing(f'No volume was offered within {SECONDS:g} seconds; see above.')


def answer(number: int, path: str) -> bytes:
    """What a path of the API says; nothing while nobody listens."""
    connection = http.client.HTTPConnection(HOST, number, timeout=5)
    try:
        connection.request('GET', path)
        return connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return b''
    finally:
        connection.close()


def hints(place: pathlib.Path, number: int) -> str:
    """What to try now."""
    url = f'http://{HOST}:{number}'
    lines = [
        f'Serving {url} with all state in {place}; Ctrl-C ends it.',
        '',
        f'  export OS_AUTH_TYPE=none OS_ENDPOINT={url}/v3/demo',
        '  openstack volume backup create demo --name first',
        '  openstack volume backup list',
        '  openstack volume backup restore first again',
        '',
        f'Status page: {url}/status',
        f'Volumes:     each file in {place / "volumes"}']
    if shutil.which('openstack') is None:
        lines.append('The client:  pip install python-openstackclient')
    return '\n'.join(lines)


def serve() -> int:
    """Run the service in the foreground; its exit status."""
    place = pathlib.Path(os.environ.get('BF_STATE') or pathlib.Path(__file__).parents[1] / '.serve')
    place = place.absolute()
    number = port()
    configuration = prepare(place)
    program = pathlib.Path(sys.executable).with_name('backup-framework-serve')
    # In a session of its own, so that Ctrl-C reaches it once: through us.
    server = subprocess.Popen(
        [program, '--config-file', configuration], start_new_session=True,
        env=dict(os.environ, OS_API__HOST=HOST, OS_API__PORT=str(number)))
    stopped = forward(server, demo.SIGNALS)
    try:
        wait(server, number)
        demo.say('\n' + hints(place, number) + '\n')
    except NotServing:
        if not stopped:
            raise
    finally:
        if stopped or sys.exc_info()[0]:
            server.terminate()
        code = server.wait()
    return 0 if stopped else code


def forward(server: subprocess.Popen[bytes], numbers: Sequence[int]) -> list[int]:
    """Let signals that end us end the server, which ends what it has begun; those that came."""
    stopped: list[int] = []

    def stop(number: int, frame: types.FrameType | None) -> None:
        if not stopped:
            demo.say('\nEnding, as soon as what runs has ended.')
        stopped.append(number)
        if server.poll() is None:
            server.terminate()
    for number in numbers:
        signal.signal(number, stop)
    return stopped


if __name__ == '__main__':
    try:
        sys.exit(serve())
    except (NotServing, demo.DemoFailed, OSError) as error:
        print(f'make serve: {error}', file=sys.stderr)
        sys.exit(1)
