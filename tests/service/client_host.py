"""Runs the stock clients, each command in a child of this process, which has imported them once.

Started by the Python of an environment that holds them (see clients.py). A line of JSON asks:
{"program": "openstack", "arguments": [...], "environment": {...}}; a line of JSON answers: the exit
status and what the program wrote.
"""

import importlib
import json
import logging
import os
import signal
import sys
import tempfile
import traceback

PROGRAMS = {'openstack': 'openstackclient.shell', 'cinder': 'cinderclient.shell'}
# What they import late.
ALSO = ('cinderclient.v3.client', 'keystoneauth1.loading', 'openstack.block_storage.v3._proxy',
        'openstackclient.volume.v3.volume_backup', 'openstackclient.volume.client')
COMMAND_SECONDS = 60


def main():
    modules = {name: importlib.import_module(module) for name, module in PROGRAMS.items()}
    for name in ALSO:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if child == 0:
                run(modules[request['program']], request, out, err)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            print(json.dumps({'status': status, 'out': content(out), 'err': content(err)}),
                  flush=True)


def run(module, request, out, err):
    """The program, to its end, which is that of this child."""
    signal.alarm(COMMAND_SECONDS)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    logging.root.handlers.clear()  # those of the imports; the program adds its own
    status = 70
    try:
        for name in [name for name in os.environ if name.startswith(('OS_', 'CINDER_'))]:
            del os.environ[name]
        os.environ.update(request['environment'])
        sys.argv = [request['program'], *request['arguments']]
        status = module.main() or 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def content(file):
    file.seek(0)
    return file.read().decode()


main()
