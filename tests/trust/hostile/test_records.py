"""Records that somebody made: they bring a backup in, and set nothing that is not theirs."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from tests.functional.command_line import CommandLine

SERVICE = 'cinder.backup.drivers.posix.PosixBackupDriver'


def encoded(fields: object, service: str = SERVICE) -> str:
    url = base64.b64encode(json.dumps(fields).encode()).decode()
    return json.dumps({'backup_service': service, 'backup_url': url})


def exported(cli: CommandLine, volume: Path, *more: object) -> dict[str, Any]:
    """What is in the record of a new backup, which the catalog then forgets."""
    made = cli.create(volume, *more)
    record = cli.json('backup', 'export', made['id'])
    cli.good('backup', 'forget', made['id'])
    found: dict[str, Any] = json.loads(base64.b64decode(record['backup_url']))
    return found
