"""As much of Cinder's REST as attaching its volumes needs, over files; and os-brick's connector.

Real ones cannot be had here. What is sent and answered is as Cinder's API reference has it.
"""

from __future__ import annotations

import http.server
import json
from pathlib import Path
import re
import shutil
import sys
import threading
import types
from typing import Any
import urllib.parse
import uuid

import pytest

GIB = 1 << 30


class Refused(Exception):
    """What Cinder answers with 400."""


class Cinder:
    """:ivar log: each request as (method, path below /v3), GET left out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.volumes: dict[str, dict[str, Any]] = {}
        self.snapshots: dict[str, dict[str, Any]] = {}
        self.attachments: dict[str, dict[str, Any]] = {}
        self.devices: dict[str, str] = {}
        self.log: list[tuple[str, str]] = []
        self.failing: str | None = None
        self._server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), self._handler())
        self.url = f'http://127.0.0.1:{self._server.server_address[1]}'
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add(self, name: str, data: bytes, **fields: Any) -> str:
        made = str(uuid.uuid4())
        self._file(made).write_bytes(data)
        self.volumes[made] = {
            'id': made, 'name': name, 'size': 1, 'status': 'available', 'description': None,
            'availability_zone': 'nova', 'bootable': 'true', 'metadata': {}, 'attachments': [],
            'snapshot_id': None,
            'os-vol-tenant-attr:tenant_id': 'demo'} | fields
        return made

    def _file(self, identifier: str) -> Path:
        return self.folder / identifier

    # One method a route.

    def post_volumes(self, body: dict[str, Any]) -> dict[str, Any]:
        wanted = body['volume']
        made = self.add(wanted['name'], b'', size=wanted['size'],
                        metadata=wanted.get('metadata') or {})
        if wanted.get('snapshot_id'):
            self.volumes[made]['snapshot_id'] = wanted['snapshot_id']
            shutil.copy(self._file(wanted['snapshot_id']), self._file(made))
        else:
            with open(self._file(made), 'wb') as file:
                file.truncate(wanted['size'] * GIB)
        return {'volume': self.volumes[made]}

    def post_snapshots(self, body: dict[str, Any]) -> dict[str, Any]:
        wanted, made = body['snapshot'], str(uuid.uuid4())
        volume = self.volumes[wanted['volume_id']]
        if volume['status'] == 'in-use':
            assert wanted['force'] is True
        shutil.copy(self._file(volume['id']), self._file(made))
        self.snapshots[made] = {
            'id': made, 'volume_id': volume['id'], 'name': wanted['name'], 'status': 'available',
            'size': volume['size'], 'metadata': wanted.get('metadata') or {},
            'description': None, 'created_at': '2026-01-02T03:04:05.000000'}
        return {'snapshot': self.snapshots[made]}

    def post_attachments(self, body: dict[str, Any]) -> dict[str, Any]:
        wanted, made = body['attachment'], str(uuid.uuid4())
        assert set(wanted) == {'volume_uuid', 'connector'} and wanted['connector']['initiator']
        volume, connector = self.volumes[wanted['volume_uuid']], wanted['connector']
        if volume['status'] not in ('available', 'downloading'):
            raise Refused(f'Volume {volume["id"]} status must be available or downloading to '
                          f'reserve, but the current status is {volume["status"]}.')
        volume['status'] = 'attaching'
        self.attachments[made] = {
            'id': made, 'status': 'attaching', 'mode': connector['mode'],
            'volume_id': volume['id'], 'connection_info': {
                'driver_volume_type': 'iscsi', 'data': {'target_lun': str(self._file(volume['id']))}
            }}
        self.devices[made] = connector.get('mountpoint', 'na')
        return {'attachment': self.attachments[made]}

    def _complete(self, attachment: dict[str, Any]) -> None:
        attachment['status'] = 'attached'
        volume = self.volumes[attachment['volume_id']]
        volume['status'] = 'in-use'
        # A volume tells only of those that are complete, and to a user not on which host.
        volume['attachments'] = [{
            'id': volume['id'], 'attachment_id': attachment['id'], 'volume_id': volume['id'],
            'server_id': None, 'host_name': None, 'device': self.devices[attachment['id']]}]

    def _delete(self, kind: str, identifier: str) -> None:
        if kind == 'attachments':
            self.volumes[self.attachments[identifier]['volume_id']] |= {
                'status': 'available', 'attachments': []}
        elif kind == 'volumes' and self.volumes[identifier]['status'] not in ('available', 'error'):
            raise Refused(f'Volume status must be available or error, and is '
                          f'{self.volumes[identifier]["status"]}')
        del getattr(self, kind)[identifier]
        self._file(identifier).unlink(missing_ok=True)

    def _answer(self, method: str, path: str, query: str, body: dict[str, Any]
                ) -> tuple[int, Any]:
        if path in ('/', '/v3/'):
            return 200, {'versions': [{'id': 'v3.0', 'status': 'CURRENT', 'version': '3.71',
                                       'min_version': '3.0',
                                       'links': [{'rel': 'self', 'href': f'{self.url}/v3/'}]}]}
        kind, identifier, rest = (*path.removeprefix('/v3/').split('/'), '', '')[:3]
        if kind == self.failing:
            return 400, {'badRequest': {'message': 'not now', 'code': 400}}
        known = getattr(self, kind)
        if method == 'POST' and not identifier:
            return 200, getattr(self, f'post_{kind}')(body)
        if identifier == 'detail':
            wanted = dict(urllib.parse.parse_qsl(query))
            return 200, {kind: [each for each in known.values()
                                if all(each.get(key, wanted[key]) == wanted[key] for key in wanted)
                                ]}
        if identifier not in known:
            return 404, {'itemNotFound': {'message': f'no {identifier}', 'code': 404}}
        if method == 'DELETE':
            self._delete(kind, identifier)
            return 202, None
        if rest == 'action':
            assert 'os-complete' in body
            self._complete(known[identifier])
            return 204, None
        return 200, {kind[:-1]: known[identifier]}

    def _handler(cinder) -> type[http.server.BaseHTTPRequestHandler]:
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_GET(self) -> None:
                path, _, query = self.path.partition('?')
                if self.command != 'GET':
                    cinder.log.append((self.command, re.sub('[0-9a-f-]{36}', 'ID', path)[4:]))
                length = int(self.headers.get('Content-Length') or 0)
                body = json.loads(self.rfile.read(length) or b'{}')
                try:
                    code, answer = cinder._answer(self.command, path, query, body)
                except Refused as error:
                    code, answer = 400, {'badRequest': {'message': str(error), 'code': 400}}
                data = b'' if answer is None else json.dumps(answer).encode()
                self.send_response(code)
                self.send_header('Content-Type', 'application/json')
                self.send_header('Content-Length', str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_DELETE = do_GET

            def log_message(self, *args: Any) -> None:
                pass
        return Handler


class Connector:
    """What stands for os-brick's: `connected` are the paths that are in use."""

    connected: list[str] = []
    failing = False

    @staticmethod
    def factory(protocol: str, root_helper: str, use_multipath: bool = False) -> Connector:
        assert protocol == 'iscsi'
        return Connector()

    def connect_volume(self, properties: dict[str, Any]) -> dict[str, Any]:
        if self.failing:
            raise RuntimeError('no path to the target')
        self.connected.append(properties['target_lun'])
        return {'type': 'block', 'path': properties['target_lun']}

    def disconnect_volume(self, properties: dict[str, Any], device: dict[str, Any]) -> None:
        self.connected.remove(device['path'])


def install_brick(monkeypatch: pytest.MonkeyPatch) -> type[Connector]:
    """Have `import os_brick` find the connector above."""
    monkeypatch.setattr(Connector, 'connected', [])
    monkeypatch.setattr(Connector, 'failing', False)
    modules = {name: types.ModuleType(name) for name in (
        'os_brick', 'os_brick.initiator', 'os_brick.initiator.connector')}
    modules['os_brick'].setup = lambda configuration: None  # type: ignore[attr-defined]
    connector: Any = modules['os_brick.initiator.connector']
    connector.InitiatorConnector = Connector
    connector.get_connector_properties = lambda root_helper, my_ip, multipath, enforce: {
        'initiator': 'iqn.2026-01.org.example:host', 'ip': my_ip, 'multipath': multipath,
        'host': 'here'}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return Connector
