"""A distribution of somebody else, as pip would install it: a driver, commands, a heavy library."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys

ENTRY_POINTS = """
[backup_framework.drivers]
shelf = shelf_backup.driver:ShelfDriver
hook = shelf_backup.nothing:HookDriver
odd = shelf_backup.driver:OddDriver

[backup_framework.commands]
shelf_open-door = shelf_backup.commands:OpenDoor
shelf_close = shelf_backup.nothing:Close
backup_list = shelf_backup.commands:OpenDoor
"""

DRIVER = """
import shelf_heavy
from backup_framework.drivers import local
from backup_framework.model import Option

class ShelfDriver(local.LocalBackupDriver):
    OPTIONS = (*local.LocalBackupDriver.OPTIONS, Option('board', help='Which board.'))

class OddDriver(local.LocalBackupDriver):
    OPTIONS = ('board',)
"""

COMMANDS = """
from backup_framework.cmd import base

class OpenDoor(base.Base):
    '''Open the door of the shelf.'''

    def get_parser(self, prog_name):
        parser = super().get_parser(prog_name)
        parser.add_argument('--wide', action='store_true', help='all the way')
        return parser

    def take_action(self, parsed_args):
        print('wide open' if parsed_args.wide else 'open')
"""

LOADED = """
import sys
from backup_framework.cmd import main
try:
    code = main.main(sys.argv[1:])
except SystemExit as error:
    code = error.code
open({file!r}, 'w').write('\\n'.join(sys.modules))
sys.exit(code)
"""


class OtherDistribution:
    """Installs it below a directory, and runs commands that find it there."""

    def __init__(self, directory: Path) -> None:
        self._site = directory / 'site'
        self._modules = directory / 'modules'
        for name, text in {
                'shelf_backup-1.2.dist-info/METADATA':
                    'Metadata-Version: 2.1\nName: shelf-backup\nVersion: 1.2\n',
                'shelf_backup-1.2.dist-info/entry_points.txt': ENTRY_POINTS,
                'shelf_backup/__init__.py': '', 'shelf_backup/driver.py': DRIVER,
                'shelf_backup/commands.py': COMMANDS,
                'shelf_backup/nothing.py': 'import shelf_that_nobody_installed\n',
                'shelf_heavy.py': ''}.items():
            file = self._site / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def run(self, *argv: object) -> subprocess.CompletedProcess[str]:
        code = LOADED.format(file=str(self._modules))
        return subprocess.run(
            [sys.executable, '-c', code, *map(str, argv)], text=True, timeout=60,
            capture_output=True, env=os.environ | {'PYTHONPATH': str(self._site)})

    def loaded(self) -> set[str]:
        """The modules that the last command had imported when it ended."""
        return set(self._modules.read_text().split())
