"""Short words for what the tests of the gcs plugin do with a driver."""

from __future__ import annotations

from backup_framework_gcs.driver import GCSBackupDriver

from backup_framework import store

BOX = 'box'
PIECE = 100_000


def write(driver: GCSBackupDriver, name: str, data: bytes, box: str = BOX) -> None:
    """Write an object in pieces that fit no boundary, with the driver's own writer."""
    with driver.get_object_writer(box, name) as writer:
        for at in range(0, len(data), PIECE):
            writer.write(data[at:at + PIECE])


def read(driver: GCSBackupDriver, name: str, box: str = BOX) -> bytes:
    """Read an object to its end, with the driver's own reader."""
    with driver.get_object_reader(box, name) as reader:
        return b''.join(iter(lambda: reader.read(PIECE), b''))


class Pauses(list[float]):
    """What a framework that does not wait would have waited."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def container(driver: GCSBackupDriver, pauses: Pauses | None = None, box: str = BOX,
              deadline: float = 20.0) -> store.Container:
    """A container as the framework uses it: with its retries, but without waiting for them."""
    return store.Container(driver, box, retry_deadline=deadline,
                           sleep=Pauses() if pauses is None else pauses)


def put(driver: GCSBackupDriver, name: str, data: bytes) -> None:
    """Write an object as the framework does."""
    container(driver).put(name, lambda: [data])
