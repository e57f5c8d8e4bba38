"""Run by the Python of Keystone's environment: makes a Keystone in a folder, and serves it.

    python keystone_host.py FOLDER PASSWORD

It prints the port on which it listens at loopback, and ends when its input does.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import threading
from wsgiref import simple_server

CONFIGURATION = """
[DEFAULT]
use_stderr = false
log_file = {folder}/keystone.log
[database]
connection = sqlite:///{folder}/keystone.db
[fernet_tokens]
key_repository = {folder}/keys
[fernet_receipts]
key_repository = {folder}/keys
[identity]
password_hash_rounds = 4
"""


class Quiet(simple_server.WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    folder, password = pathlib.Path(sys.argv[1]), sys.argv[2]
    file = folder / 'keystone.conf'
    file.write_text(CONFIGURATION.format(folder=folder))
    make_keys(folder / 'keys')
    manage(file, 'db_sync')
    manage(file, 'bootstrap', '--bootstrap-password', password)
    os.environ['OS_KEYSTONE_CONFIG_FILES'] = str(file)
    # It would take our arguments for its own.
    del sys.argv[1:]
    from keystone.server import wsgi
    server = simple_server.make_server(
        '127.0.0.1', 0, wsgi.initialize_public_application(), handler_class=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


def make_keys(folder: pathlib.Path) -> None:
    from cryptography.fernet import Fernet
    folder.mkdir(mode=0o700)
    for name in ('0', '1'):
        (folder / name).write_bytes(Fernet.generate_key())


def manage(file: pathlib.Path, *command: str) -> None:
    """What keystone-manage does."""
    call = 'import sys; from keystone.cmd.manage import main; sys.exit(main())'
    subprocess.run([sys.executable, '-c', call, '--config-file', str(file), *command], check=True,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


if __name__ == '__main__':
    main()
