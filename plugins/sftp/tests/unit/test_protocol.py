"""Sessions with servers that break the protocol, refuse, hang up or answer in any order."""

from __future__ import annotations

import struct

from backup_framework_sftp.packets import Code, Flag, Kind, string, u32
from backup_framework_sftp.protocol import (
    FSYNC,
    LIMITS,
    REQUEST,
    SAFE_REQUEST,
    ConnectionLost,
    ProtocolError,
    Session,
    StatusError,
)
import pytest

from plugins.sftp.tests.unit import scripted
from plugins.sftp.tests.unit.scripted import ScriptedStream, only, raw, status


def session_with(kind: Kind, answer: bytes) -> Session:
    """A session whose server answers requests of a type with these bytes behind the header."""
    return Session(ScriptedStream(hook=only(kind, lambda number, _: answer)))


@pytest.mark.parametrize('greeting, wanted', [
    (b'Welcome to vault!\n', "does not speak SFTP; it said 'Welcome to vault!'"),
    (raw(Kind.VERSION, 6, b''), 'version 6'),
    (raw(Kind.VERSION, 3, string(b'x')), 'greeting'),
    (b'', 'the server closed it: said so'),
])
def test_a_wrong_greeting_is_told_and_the_stream_closed(greeting, wanted):
    stream = ScriptedStream(hook=only(Kind.INIT, lambda *_: greeting))
    with pytest.raises(ConnectionLost, match=wanted):
        Session(stream)
    assert stream.closed


@pytest.mark.parametrize('offered, wanted', [
    (0, SAFE_REQUEST), (1, 1024), (40_000, 40_000), (1 << 40, REQUEST)])
def test_requests_keep_to_the_limits_of_the_server(offered, wanted):
    session = Session(ScriptedStream(request=offered))
    assert (session.read_size, session.write_size) == (wanted, wanted)


def test_a_server_without_limits_gets_what_every_server_takes():
    assert Session(ScriptedStream(extensions=())).read_size == SAFE_REQUEST
    refused = only(Kind.EXTENDED, lambda number, _: status(number, Code.FAILURE))
    assert Session(ScriptedStream(hook=refused)).read_size == SAFE_REQUEST


def test_an_extension_in_another_version_is_none():
    greeting = raw(Kind.VERSION, 3, string(FSYNC) + string(b'2') + string(b'x') + string(b''))
    session = Session(ScriptedStream(hook=only(Kind.INIT, lambda *_: greeting)))
    assert not session.offers(FSYNC) and not session.offers(LIMITS)


@pytest.mark.parametrize('answer', [
    raw(Kind.HANDLE, 77, string(b'h')),                       # to no request
    struct.pack('>IBI', 2 ** 31, Kind.HANDLE, 2) + b'x' * 100,  # of two GiB
    struct.pack('>IBI', 5, Kind.HANDLE, 2) + b'x' * 100,        # without a body
    struct.pack('>IBI', 4, Kind.HANDLE, 2) + b'x' * 100,
    raw(Kind.DATA, 2, string(b'data')),                        # of another type
    raw(Kind.STATUS, 2, u32(Code.OK)),                         # done, but what?
    raw(Kind.HANDLE, 2, u32(99) + b'h'),                       # cut
    raw(Kind.HANDLE, 2, string(b'')),
    raw(Kind.HANDLE, 2, string(b'h' * 257)),
])
def test_what_the_protocol_does_not_allow_ends_the_session(answer):
    session = session_with(Kind.OPEN, answer)
    with pytest.raises(ProtocolError, match='broke the protocol'):
        session.open(b'name', Flag.READ).get()
    assert session.is_lost and not session.is_usable()
    with pytest.raises(ConnectionLost, match='before'):
        session.open(b'name', Flag.READ)


def test_more_data_than_asked_for_ends_the_session():
    session = Session(ScriptedStream(
        hook=only(Kind.READ, lambda number, _: scripted.answer_data(number, b'x' * 11))))
    with pytest.raises(ProtocolError, match='11 bytes of a file where 10'):
        session.read(b'handle', 0, 10).get()


@pytest.mark.parametrize('name', [b'a/b', b'', b'a\0'])
def test_an_impossible_name_in_a_directory_ends_the_session(name):
    page = u32(1) + string(name) + string(b'') + u32(0)
    session = Session(ScriptedStream(
        hook=only(Kind.READDIR, lambda number, _: raw(Kind.NAME, number, page))))
    with pytest.raises(ProtocolError):
        session.read_directory(b'handle').get()


def test_a_page_without_names_ends_the_session():
    session = Session(ScriptedStream(
        hook=only(Kind.READDIR, lambda number, _: raw(Kind.NAME, number, u32(0)))))
    with pytest.raises(ProtocolError, match='without a name'):
        session.read_directory(b'handle').get()


def test_a_refusal_leaves_the_session_as_it_is():
    session = Session(ScriptedStream(hook=only(
        Kind.OPEN, lambda number, _: status(number, Code.PERMISSION_DENIED, b'go \x1baway'))))
    with pytest.raises(StatusError, match='go  away') as caught:
        session.open(b'name', Flag.READ).get()
    assert caught.value.code == Code.PERMISSION_DENIED
    assert session.is_usable()


@pytest.mark.parametrize('code, text', [(Code.NO_SUCH_FILE, 'no such file'), (99, 'status 99')])
def test_a_refusal_without_a_word_is_named(code, text):
    session = Session(ScriptedStream(
        hook=only(Kind.OPEN, lambda number, _: raw(Kind.STATUS, number, u32(code)))))
    with pytest.raises(StatusError, match=text):
        session.open(b'name', Flag.READ).get()


@pytest.mark.parametrize('portion', [1, 7, 1 << 20])
@pytest.mark.parametrize('order', [list, lambda answers: answers[::-1]])
def test_answers_find_their_requests(portion, order):
    stream = ScriptedStream(bytes(range(256)), order=order, portion=portion)
    session = Session(stream)
    replies = [session.read(b'handle', offset, 1) for offset in range(256)]
    assert [bytes(reply.get()) for reply in replies] == [bytes([n]) for n in range(256)]
    assert session.is_usable()


def test_what_is_owed_is_settled():
    session = Session(ScriptedStream(b'data'))
    for _ in range(3):
        session.read(b'handle', 0, 4)
    assert not session.is_usable()
    session.settle()
    assert session.is_usable()


def test_silence_is_told_apart():
    stream = ScriptedStream()
    session = Session(stream)

    def silence(_: object) -> int:
        raise TimeoutError('nothing for 30 s')

    stream.recv_into = silence
    with pytest.raises(ConnectionLost, match='nothing for 30 s: said so'):
        session.open(b'name', Flag.READ).get()
    assert session.is_silent and session.is_lost and stream.closed


@pytest.mark.parametrize('method', ['sendall', 'recv_into'])
def test_an_interrupted_session_is_not_used_again(method):
    stream = ScriptedStream()
    session = Session(stream)

    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    usual = getattr(stream, method)
    setattr(stream, method, interrupt)
    with pytest.raises(KeyboardInterrupt):
        session.write(b'handle', 0, b'data').get()
    setattr(stream, method, usual)
    assert not session.is_usable()
    session.settle()
    assert session.is_lost
