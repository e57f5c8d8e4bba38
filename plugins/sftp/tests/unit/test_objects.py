"""Readers and writers: any order of answers, short ones, bad ones, and bounds of what is asked."""

from __future__ import annotations

import contextlib
import random

from backup_framework_sftp import objects, protocol
from backup_framework_sftp.packets import HAS_SIZE, Code, Fields, Kind, u32, u64
from backup_framework_sftp.protocol import Session, StatusError
from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from backup_framework import exceptions
from plugins.sftp.tests.unit.scripted import ScriptedStream, answer_data, only, raw, status

KIB = 1 << 10
DATA = random.Random(7).randbytes(50 * KIB + 3)


def reader_of(stream: ScriptedStream, size: int = len(DATA)) -> objects.Reader:
    return objects.Reader(Session(stream), b'handle', size, 'the object', contextlib.nullcontext)


def writer_to(stream: ScriptedStream) -> objects.Writer:
    return objects.Writer(Session(stream), b'handle', 0o600, 'the object', contextlib.nullcontext)


def short(data: bytes, seed: int):
    """Answers READs with a part of what was asked for, at least 1 KiB or all."""
    chance = random.Random(seed)

    def answer(number: int, body: bytes) -> bytes:
        fields = Fields(body)
        fields.string()
        offset, length = fields.u64(), fields.u32()
        given = chance.randint(min(KIB, length), length)
        return answer_data(number, data[offset:offset + given])

    return only(Kind.READ, answer)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 9), st.sampled_from([KIB, 5000, 255 * KIB]), st.integers(1, 10 ** 5),
       st.lists(st.tuples(st.booleans(), st.integers(0, len(DATA) + 9)), max_size=8))
def test_any_reads_give_the_right_bytes(seed, request, portion, steps):
    def mix(answers: list[bytes]) -> list[bytes]:
        random.Random(seed).shuffle(answers)
        return answers

    stream = ScriptedStream(DATA, hook=short(DATA, seed), request=request, order=mix,
                            portion=portion)
    reader, at = reader_of(stream), 0
    for seeks, number in steps:
        if seeks:
            assert reader.seek(number) == number
            at = number
        else:
            wanted = DATA[at:at + number]
            assert reader.read(number) == wanted
            at += len(wanted)
    assert reader.read() == DATA[at:]
    assert reader.tell() == max(at, len(DATA))
    reader.close()
    assert reader._session.is_usable()


@pytest.mark.parametrize('answer', [
    lambda number, _: status(number, Code.EOF),
    lambda number, _: answer_data(number, b''),
    lambda number, _: answer_data(number, b'x' * 100),
])
@pytest.mark.parametrize('size', [-1, 5 * KIB])
def test_less_than_the_server_said_is_no_end(answer, size):
    reader = reader_of(ScriptedStream(DATA, hook=only(Kind.READ, answer, (3,))))
    with pytest.raises(exceptions.StoreUnavailable, match=f'has {len(DATA)} bytes, but the server'):
        while reader.read(size):
            pass
    with pytest.raises(exceptions.StoreUnavailable, match='failed before'):
        reader.read(size)
    reader.close()


def test_a_refused_read_is_an_error():
    reader = reader_of(ScriptedStream(
        DATA, hook=only(Kind.READ, lambda number, _: status(number, Code.FAILURE), (2,))))
    with pytest.raises(StatusError):
        reader.read()


def test_an_object_that_was_replaced_while_it_was_opened():
    reader = reader_of(ScriptedStream(DATA), size=len(DATA) + 1)
    with pytest.raises(exceptions.StoreUnavailable, match='replaced'):
        reader.read(1)


def test_what_is_asked_for_is_bounded(monkeypatch):
    monkeypatch.setattr(objects, 'WINDOW', 8 * KIB)
    stream = ScriptedStream(DATA)
    assert reader_of(stream).read() == DATA
    assert stream.most <= 9  # and the status of the file


def test_the_number_of_requests_is_bounded():
    stream = ScriptedStream(bytes(300 * KIB))
    reader = reader_of(stream, 300 * KIB)
    assert len(reader.read()) == 300 * KIB
    assert stream.most <= protocol.MOST_REQUESTS + 1


def test_a_range_is_fetched_and_no_more():
    asked = []

    def watch(kind: Kind, _: int, body: bytes) -> None:
        if kind == Kind.READ:
            asked.append(int.from_bytes(body[-4:]))

    reader = reader_of(ScriptedStream(DATA, hook=watch))
    reader.seek(10 * KIB)
    assert reader.read(3 * KIB + 7) == DATA[10 * KIB:13 * KIB + 7]
    assert asked == [KIB, KIB, KIB, 7]
    reader.read(KIB)
    assert len(asked) > 5, 'what goes on is read ahead'


def test_reading_ahead_begins_with_the_second_piece():
    stream = ScriptedStream(DATA)
    reader = reader_of(stream)
    reader.read(4 * KIB)
    assert stream.requests.count(Kind.READ) == 8


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=5000), max_size=12), st.sampled_from([KIB, 3000, 255 * KIB]))
def test_any_writes_arrive(pieces, request):
    stream = ScriptedStream(request=request)
    writer = writer_to(stream)
    for piece in pieces:
        buffer = bytearray(piece)
        assert writer.write(memoryview(buffer)) == len(piece)
        buffer[:] = bytes(len(buffer))
    assert writer.size == sum(map(len, pieces))
    assert writer.finish()
    assert stream.contents == b''.join(pieces)
    assert stream.requests[-1] == Kind.CLOSE
    assert writer._session.is_usable()


@pytest.mark.parametrize('kind, turns', [
    (Kind.WRITE, (0,)), (Kind.WRITE, (20,)), (Kind.WRITE, (50,)), (Kind.CLOSE, None),
    (Kind.EXTENDED, (1,)), (Kind.FSTAT, None)])
def test_no_refusal_is_lost(kind, turns):
    writer = writer_to(ScriptedStream(
        hook=only(kind, lambda number, _: status(number, Code.FAILURE, b'out of luck'), turns)))
    with pytest.raises(StatusError, match='out of luck'):
        writer.write(DATA)
        writer.finish()


def test_a_refused_write_is_the_error_of_a_later_one(monkeypatch):
    monkeypatch.setattr(objects, 'WINDOW', 4 * KIB)
    writer = writer_to(ScriptedStream(
        hook=only(Kind.WRITE, lambda number, _: status(number, Code.FAILURE), (0,))))
    with pytest.raises(StatusError):
        for _ in range(6):
            writer.write(bytes(KIB))
    for again in (lambda: writer.write(b'x'), writer.finish):
        with pytest.raises(exceptions.StoreUnavailable, match='failed before'):
            again()


def test_acknowledgements_that_are_owed_are_bounded(monkeypatch):
    monkeypatch.setattr(objects, 'WINDOW', 8 * KIB)
    stream = ScriptedStream()
    writer = writer_to(stream)
    writer.write(DATA)
    assert stream.most <= 10
    writer.finish()
    assert stream.contents == DATA


def test_a_file_that_is_shorter_than_what_was_written():
    stream = ScriptedStream(hook=only(
        Kind.FSTAT, lambda number, _: raw(Kind.ATTRS, number, u32(HAS_SIZE) + u64(100))))
    writer = writer_to(stream)
    writer.write(DATA)
    with pytest.raises(exceptions.StoreUnavailable, match=f'has 100 bytes .* and {len(DATA)} were'):
        writer.finish()


def test_permissions_that_are_not_kept_are_told():
    for code in (Code.OK, Code.OP_UNSUPPORTED, Code.PERMISSION_DENIED, Code.FAILURE):
        writer = writer_to(ScriptedStream(
            hook=only(Kind.FSETSTAT, lambda number, _, code=code: status(number, code))))
        assert writer.finish()
    writer = objects.Writer(
        Session(ScriptedStream()), b'handle', 0o660, 'the object', contextlib.nullcontext)
    assert not writer.finish()


def test_without_fsync_none_is_asked_for():
    stream = ScriptedStream(extensions=())
    writer = writer_to(stream)
    writer.write(b'data')
    writer.finish()
    assert Kind.EXTENDED not in stream.requests


def test_big_pieces_are_not_gathered():
    """What is written in whole requests is sent from the caller's own memory."""
    sent = []

    class Watching(ScriptedStream):
        def sendall(self, data):
            sent.append(len(data))
            super().sendall(data)

    writer = writer_to(Watching())
    sent.clear()
    writer.write(bytes(3 * KIB))
    assert [length for length in sent if length == KIB] == [KIB] * 3
