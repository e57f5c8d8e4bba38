"""Servers, and drivers of them that are closed when a test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
from pathlib import Path
from typing import Any

from backup_framework_sftp.driver import SFTPBackupDriver
import pytest

from backup_framework.testing import hooks
from backup_framework.testing.bench import Bench
from plugins.sftp.tests.lying_server import LyingServer
from tools.servers import proxy, sshd

RequirePart = Callable[[str, str], None]
MakeDriver = Callable[..., SFTPBackupDriver]
MakeBench = Callable[..., Bench]

TRANSPORTS = ('openssh', 'paramiko')


@pytest.fixture(autouse=True)
def no_keys_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the user who runs the tests has for ssh is not used."""
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.delenv('SSH_AUTH_SOCK', raising=False)


@pytest.fixture(scope='session')
def server(require_part: RequirePart) -> Iterator[sshd.Server]:
    """OpenSSH's sshd, as the present user."""
    with contextlib.ExitStack() as stack:
        yield _start(require_part, stack)


@pytest.fixture(scope='session')
def jail(require_part: RequirePart) -> Iterator[sshd.Server]:
    """OpenSSH's sshd with an account of its own, in a chroot of 12 MiB."""
    with contextlib.ExitStack() as stack:
        yield _start(require_part, stack, jail='size=12m')


@pytest.fixture(scope='session')
def roomy_server(require_part: RequirePart) -> Iterator[sshd.Server]:
    """One in a larger jail, or where there can be none, one as the present user."""
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(sshd.serving(jail='size=256m'))
        except sshd.NoJail:
            yield _start(require_part, stack)
        except sshd.Missing as error:
            require_part('sshd', str(error))


@pytest.fixture
def between(server: sshd.Server) -> Iterator[proxy.Proxy]:
    """A proxy before `server`, known by its keys."""
    with proxy.before(server.host, server.port) as made:
        server.is_also_at(made.port)
        yield made


@pytest.fixture
def liar(tmp_path: Path) -> Iterator[LyingServer]:
    root = tmp_path / 'liar'
    root.mkdir()
    made = LyingServer(root)
    yield made
    made.stop()


@pytest.fixture
def lied_to(liar: LyingServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeDriver]:
    """Makes a driver from options that is connected to `liar`, whatever they say."""
    monkeypatch.setattr(SFTPBackupDriver, 'connect',
                        lambda driver: liar.connect(driver.settings.timeout))
    drivers: list[SFTPBackupDriver] = []

    def make(**options: Any) -> SFTPBackupDriver:
        options = {'host': 'liar', 'path': '/store', 'timeout': 30.0, **options}
        drivers.append(SFTPBackupDriver.make(**options))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()


@pytest.fixture
def make_bench() -> Iterator[MakeBench]:
    """Makes a driver from options, and a bench for it that is cleaned afterwards."""
    benches: list[Bench] = []

    def make(**options: Any) -> Bench:
        options = {'use_agent': False, 'timeout': 10.0, **options}
        benches.append(Bench(hooks.Hooks(), SFTPBackupDriver.make(**options)))
        return benches[-1]

    yield make
    for bench in benches:
        bench.driver.close()


def _start(require_part: RequirePart, stack: contextlib.ExitStack, **how: Any) -> sshd.Server:
    try:
        return stack.enter_context(sshd.serving(**how))
    except sshd.NoJail as error:
        pytest.skip(str(error))
    except sshd.Missing as error:
        require_part('sshd', str(error))
        raise
