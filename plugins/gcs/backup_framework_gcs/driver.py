"""The gcs driver: containers are prefixes of a bucket, or buckets; objects are its objects.

Google's libraries are imported when the first verb needs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import dataclasses
import datetime
import os
import threading
from typing import TYPE_CHECKING, Any
import urllib.parse

from backup_framework import exceptions, model
from backup_framework.driver import chunked
from backup_framework_gcs import layout, options

if TYPE_CHECKING:
    from backup_framework_gcs import download, upload
    from backup_framework_gcs.errors import Task
    from backup_framework_gcs.service import Service

LOOPBACK = ('localhost', '127.0.0.1', '::1')


class GCSBackupDriver(chunked.ChunkedBackupDriver):
    """Keeps objects in Google Cloud Storage.

    An object appears when its upload has ended, and never replaces another one: each upload is
    conditional on the name being free.
    """

    OPTIONS: tuple[model.Option, ...] = options.OPTIONS

    CINDER_CLASS: str | None = 'cinder.backup.drivers.gcs.GoogleBackupDriver'

    def __init__(self, settings: model.Settings, context: Any = None) -> None:
        super().__init__(settings, context)
        options.check(settings)
        self._by_bucket = settings.layout == 'bucket'
        self._layout = layout.Layout(settings.bucket, settings.prefix, self._by_bucket)
        self._lock = threading.Lock()
        self._connected: Service | None = None
        self._process = os.getpid()
        self._proven: set[str] = set()

    def capabilities(self) -> model.Capabilities:
        return model.Capabilities(
            ranged_read=True, conditional_create=True, lists_containers=not self._by_bucket,
            reports_size=True, reports_clock=True, connections=self.settings.connections,
            delete_batch=100, max_object_size=5 << 40, longest_name=self._layout.longest_name,
            writer_buffer=self.settings.resumable_chunk_size)

    def check_for_setup_error(self) -> None:
        """Prove that the bucket is there and can be listed; writes nothing."""
        service = self._service()
        task = self._task(service, 'list the objects', 'storage.objects.list')
        service.prove(task, self.settings.bucket)

    def before_operation(self, kind: str) -> None:
        """Where the bucket is missing, all but a backup is refused: deletes would say 'gone'."""
        if kind != 'backup' and not self._by_bucket and self.settings.bucket not in self._proven:
            self.check_for_setup_error()
            self._proven.add(self.settings.bucket)

    def close(self) -> None:
        with self._lock:
            connected, self._connected = self._connected, None
        self._proven.clear()
        if connected is not None:
            connected.close()

    def remarks(self) -> Iterable[str]:
        from backup_framework_gcs import checksum
        if not checksum.FAST:
            yield ('google-crc32c is installed without its compiled part: checksums are so slow '
                   'that they bound every transfer; install a wheel of it for this machine')
        if self.settings.anonymous:
            yield 'requests carry no credentials (anonymous): whoever can reach the bucket can, too'
        emulator = os.environ.get('STORAGE_EMULATOR_HOST')
        if emulator and not self.settings.endpoint:
            yield (f'the variable STORAGE_EMULATOR_HOST sends everything to {emulator}; set '
                   'endpoint, or unset the variable')
        address = urllib.parse.urlsplit(self.settings.endpoint or emulator or '')
        if address.scheme == 'http' and address.hostname not in LOOPBACK:
            yield (f'{address.hostname} is spoken to without TLS: credentials and data can be read '
                   'on the way; use https in endpoint')

    def put_container(self, container: str) -> None:
        """Prove that the container's bucket is there, or make it; once for each bucket."""
        bucket = self._layout.folder(container).bucket
        if bucket in self._proven:
            return
        service = self._service()
        try:
            service.prove(self._task(service, 'list', 'storage.objects.list', container), bucket)
        except exceptions.ContainerNotFound:
            service.make_bucket(dataclasses.replace(
                self._task(service, '', 'storage.buckets.create', container),
                doing=f'make bucket {bucket}, which does not exist'), bucket)
        self._proven.add(bucket)

    def get_container_entries(self, container: str, prefix: str) -> Iterator[str]:
        """Each name once: a server may answer twice with the same object, in any order."""
        service = self._service()
        task = self._task(service, 'list', 'storage.objects.list', container)
        bucket, folder = self._layout.folder(container)
        if not layout.is_text(prefix):
            return
        start = folder + prefix
        seen = set()
        for found in service.names(task, layout.Place(bucket, start)):
            name = found.removeprefix(folder)
            if found.startswith(start) and layout.is_name(name) and name not in seen:
                seen.add(name)
                yield name

    def list_containers(self) -> Iterable[str]:
        """Every folder below `prefix` that directly holds an object."""
        if self._by_bucket:
            raise exceptions.NotSupported(
                'containers cannot be listed with layout = bucket: a project has other buckets as '
                'well; name the container')
        service = self._service()
        task = self._task(service, 'list the containers', 'storage.objects.list')
        return sorted(self._layout.containers(service.names(task, self._layout.top)))

    @contextlib.contextmanager
    def get_object_writer(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[upload.Writer]:
        from backup_framework_gcs import upload
        service = self._service()
        writer = upload.Writer(
            service, self._task(service, 'write', 'storage.objects.create', container, object_name),
            self._layout.place(container, object_name))
        try:
            yield writer
            writer.finish()
        except BaseException:
            writer.cancel()
            raise

    @contextlib.contextmanager
    def get_object_reader(self, container: str, object_name: str,
                          extra_metadata: Any = None) -> Iterator[download.Reader]:
        from backup_framework_gcs import download
        service = self._service()
        reader = download.Reader(service, self._reading(service, 'read', container, object_name),
                                 self._layout.place(container, object_name))
        try:
            yield reader
        finally:
            reader.close()

    def delete_object(self, container: str, object_name: str) -> None:
        service = self._service()
        task = self._task(service, 'delete', 'storage.objects.delete', container, object_name)
        service.delete(task, self._layout.place(container, object_name))

    def delete_objects(self, container: str, object_names: Sequence[str]) -> None:
        service = self._service()
        task = self._task(service, 'delete objects of', 'storage.objects.delete', container)
        service.delete_many(task, [self._layout.place(container, name) for name in object_names])

    def object_size(self, container: str, object_name: str) -> int:
        service = self._service()
        task = self._reading(service, 'ask the size of', container, object_name)
        return service.facts(task, self._layout.place(container, object_name)).size

    def clock(self) -> float:
        """The time at which the service answers, in whole seconds."""
        service = self._service()
        task = self._task(service, 'ask the time', 'storage.objects.list')
        return service.time(task, self.settings.bucket)

    def update_container_name(self, backup: model.Backup, container: str | None) -> str | None:
        """With layout = bucket, Cinder's default: the configured bucket."""
        return self.settings.bucket if self._by_bucket and not container else None

    def object_prefix(self, backup: model.Backup) -> str:
        """With layout = bucket as in Cinder's driver for this service, with slashes."""
        if not self._by_bucket:
            return super().object_prefix(backup)
        started = datetime.datetime.now(datetime.UTC).strftime('%Y%m%d%H%M%S')
        zone = backup.availability_zone or 'nova'
        return f'volume_{backup.volume_id}/{started}/az_{zone}_backup_{backup.id}'

    def _service(self) -> Service:
        from backup_framework_gcs import service
        with self._lock:
            if self._process != os.getpid():  # a fork: the connections are the other process's
                self._connected, self._process = None, os.getpid()
            if self._connected is None:
                self._connected = service.Service(self.settings)
            return self._connected

    def _task(self, service: Service, doing: str, needs: str, container: str | None = None,
              name: str | None = None) -> Task:
        """What a verb is about to do, in words."""
        bucket = self._layout.folder(container).bucket if container else self.settings.bucket
        return service.task(f'{_spelled(doing, container, name)} in bucket {bucket}', bucket,
                            needs, container, name)

    def _reading(self, service: Service, doing: str, container: str, name: str) -> Task:
        return dataclasses.replace(
            self._task(service, doing, 'storage.objects.get', container, name),
            missing=exceptions.ObjectNotFound)


def _spelled(doing: str, container: str | None, name: str | None) -> str:
    if container is None:
        return doing
    return f'{doing} container {container}' if name is None else (
        f'{doing} {name} of container {container}')
