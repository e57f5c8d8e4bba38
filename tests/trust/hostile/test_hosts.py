"""SSH servers that are what they say, but prove it by means that are broken: refused as well.

Unknown, changed and revoked keys, keys of another type and certificates are in the plugin's tests.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
from pathlib import Path

from backup_framework_sftp.driver import SFTPBackupDriver
import pytest

from backup_framework import exceptions
from tools.servers import sshd

WEAK = {'SHA-1 host keys': 'HostKeyAlgorithms ssh-rsa',
        'SHA-1 key exchange': 'KexAlgorithms diffie-hellman-group14-sha1,'
                              'diffie-hellman-group-exchange-sha1',
        'a group of 1024 bits': 'KexAlgorithms diffie-hellman-group1-sha1',
        'SHA-1 codes with CBC': 'Ciphers aes128-cbc\nMACs hmac-sha1-96',
        'DES': 'Ciphers 3des-cbc\nMACs hmac-md5'}


@pytest.mark.parametrize('weak', WEAK)
def test_a_server_with_old_means_alone(weak: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       require_part: Callable[[str, str], None]) -> None:
    """Before anybody logs in, and with a sentence that says what does not match."""
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.delenv('SSH_AUTH_SOCK', raising=False)
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(sshd.serving(more=WEAK[weak]))
        except sshd.Missing as error:
            if 'sshd did not start' in str(error):
                pytest.skip(f'this sshd cannot be that weak: {error}')
            require_part('sshd', str(error))
            raise
        for transport in ('openssh', 'paramiko'):
            options = server.options(transport=transport, use_agent=False, timeout=10.0)
            with contextlib.closing(SFTPBackupDriver.make(**options)) as driver:
                with pytest.raises(exceptions.StoreError) as caught:
                    driver.check_for_setup_error()
            assert 'no matching' in str(caught.value) or 'no acceptable' in str(caught.value) or (
                'agree' in str(caught.value)), caught.value
        assert 'Accepted' not in server.log()
