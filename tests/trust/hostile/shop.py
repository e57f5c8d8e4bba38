"""A manager with one volume and two backends of its own, in this process."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from backup_framework import conf
from backup_framework.manager import Manager, creating
from backup_framework.model import Backup

SERVICE = 'cinder.backup.drivers.posix.PosixBackupDriver'


def encoded(fields: object, service: str = SERVICE) -> str:
    """The file of a record."""
    url = base64.b64encode(json.dumps(fields).encode()).decode()
    return json.dumps({'backup_service': service, 'backup_url': url})


def decoded(record: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(record['backup_url']))
    return found


class Shop:
    """:ivar warned: the sentences that the manager warned with."""

    def __init__(self, directory: Path, version: str, more: str = '') -> None:
        self.directory = directory
        self.volume = directory / 'volume'
        self.volume.write_bytes(b'words' * 5000)
        file = directory / 'test.conf'
        file.write_text('\n'.join([
            '[DEFAULT]', f'state_path = {directory}/state', 'enabled_backends = local, other',
            *(line for name in ('local', 'other') for line in (
                f'[{name}]', 'driver = local', f'path = {directory}/{name}', f'format = {version}',
                'chunk_size = 64KiB', 'block_size = 4KiB', 'durability = none')), more]))
        self.warned: list[str] = []
        self.manager = Manager(conf.load([str(file)]), warn=self.warned.append)

    def create(self, **how: Any) -> Backup:
        return self.manager.create(creating.Request(str(self.volume), **how))

    def fields(self, backup: Backup) -> dict[str, Any]:
        return decoded(self.manager.export(backup.id))

    def take(self, fields: dict[str, Any], **how: Any) -> Backup:
        return self.manager.import_(json.loads(encoded(fields)), **{'backend': 'local'} | how)
