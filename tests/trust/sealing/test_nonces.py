"""No key and nonce seal twice: counted where everything that seals passes by."""

from __future__ import annotations

from collections import Counter
import hashlib
import io
import json
from typing import Any

import pytest

from backup_framework import exceptions
from backup_framework.engine.monitor import Monitor, Operation
from backup_framework.formats.v2 import digest, names, packing, sealing
from backup_framework.testing import faults
from tests.trust.sealing import rig
from tests.unit.driver import chains

SEALS = 10_000_000


class Seen:
    """What was sealed: each pair of key and nonce, as the cipher itself is called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pairs: Counter[bytes] = Counter()
        library = sealing._library()
        seen = self

        class Counting:
            def __init__(self, key: bytes) -> None:
                self.key = key
                self._aead = library.aead(key)

            def encrypt(self, nonce: bytes, *args: Any) -> bytes:
                seen.pairs[hashlib.sha256(self.key + nonce).digest()[:16]] += 1
                return self._aead.encrypt(nonce, *args)

            def decrypt(self, *args: Any) -> bytes:
                return self._aead.decrypt(*args)

        monkeypatch.setattr(sealing, '_library', lambda: library._replace(aead=Counting))

    def check(self, least: int) -> None:
        assert len(self.pairs) >= least
        assert set(self.pairs.values()) == {1}


def test_no_pair_comes_twice_in_a_run_with_many_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(monkeypatch)
    driver = rig.driver(rig.ring('main'), workers=3, block_size=512, chunk_size=1 << 20)
    data = chains.make_bytes(24 << 20)
    first = chains.take(driver, data)
    # The same bytes again, in full and on the first: other keys, or other places.
    chains.take(driver, data)
    chains.take(driver, rig.changed(data, 1 << 16), first)
    seen.check(150)
    salts = [salt_of(name, body) for name, body in rig.objects(driver).items()
             if '_keys-' not in name and not name.startswith('bf-container.')]
    assert len(set(salts)) == len(salts) >= 10


def salt_of(name: str, body: bytes) -> bytes:
    if name.endswith('_metadata'):
        return bytes.fromhex(json.loads(body)['sealing']['salt'])
    return body[16:48] if name.endswith('_map') else body[24:56]


def test_no_pair_comes_twice_when_every_other_answer_is_lost(
        monkeypatch: pytest.MonkeyPatch) -> None:
    """What is put again has another name, another salt, another key."""
    seen = Seen(monkeypatch)
    inner = rig.driver(retry_deadline=60.0)
    driver = faults.FaultyDriver(inner, [
        faults.Fault('commit', call=call, error=exceptions.StoreUnavailable, after=True)
        for call in range(2, 40, 2)])
    driver.keys = rig.ring('main')
    data = chains.make_bytes(40 * rig.CHUNK)
    backup = chains.take(driver, data, operation=Operation(monitor=Impatient()))
    assert len(driver.happened) >= 2
    assert chains.bring_back(driver, backup) == data
    seen.check(40)


class Impatient(Monitor):
    def sleep(self, seconds: float) -> None:
        self.check()


def test_no_pair_comes_twice_when_a_backup_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data key is that of the run that was killed, and the store was put back in between."""
    seen = Seen(monkeypatch)
    driver = rig.driver(rig.ring('main'))
    data = chains.make_bytes(40 * rig.CHUNK)
    backup = chains.record()

    def die(verb: str, container: str | None, name: str | None) -> None:
        if verb == 'commit' and '_map' in str(name):
            raise KeyboardInterrupt

    monkeypatch.setattr('backup_framework.driver.work.Work._clean_up', lambda *_: None)
    for _ in range(3):
        driver.store.on_request = die
        with pytest.raises(KeyboardInterrupt):
            driver.backup(backup, io.BytesIO(data), operation=Operation(resume=True))
        driver.store.on_request = lambda *_: None
        for name in chains.data_names(driver, backup):
            chains.overwrite(driver, name, None)
    for field, value in driver.backup(
            backup, io.BytesIO(data), operation=Operation(resume=True)).items():
        setattr(backup, field, value)
    assert chains.bring_back(driver, backup) == data
    seen.check(20)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_no_pair_comes_twice_in_ten_million_seals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one backup: many objects, each with many frames.

    Of each object the key and the nonces are counted by themselves: all pairs at once would take a
    gigabyte.
    """
    seen = Seen(monkeypatch)
    data_key, frames, keys, seals = sealing.new_key(), 8192, set(), 0
    algorithm = digest.algorithm('blake3')
    while seals < SEALS:
        number = len(keys) + 1
        body = packing.Body(algorithm, number, names.data_name('backup', number), data_key)
        body.header(0, 1)
        for _ in range(frames):
            body.frame((packing.Frame(None), b'x'))
        assert body._cipher is not None
        keys.add(hashlib.sha256(body._cipher._aead.key).digest())
        seen.check(frames)
        seals += sum(seen.pairs.values())
        seen.pairs.clear()
        assert len(keys) == number
    assert seals >= SEALS
