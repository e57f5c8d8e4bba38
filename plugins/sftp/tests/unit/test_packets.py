"""Fields of packets: what is packed is read again, and nothing behind the end of a packet is."""

from __future__ import annotations

from backup_framework_sftp import packets
from backup_framework_sftp.packets import Attributes, Fields, Malformed, string, u32, u64
from hypothesis import given
from hypothesis import strategies as st
import pytest

U32 = st.integers(0, 2 ** 32 - 1)
U64 = st.integers(0, 2 ** 64 - 1)


def pack(attributes: Attributes, owner: bool, extended: int) -> bytes:
    has_times = attributes.modified is not None
    flags = ((attributes.size is not None) * packets.HAS_SIZE | owner * packets.HAS_OWNER
             | (attributes.mode is not None) * packets.HAS_MODE | has_times * packets.HAS_TIMES
             | bool(extended) * packets.HAS_EXTENDED)
    body = u32(flags)
    body += u64(attributes.size) if attributes.size is not None else b''
    body += u64(7) if owner else b''
    body += u32(attributes.mode) if attributes.mode is not None else b''
    body += u32(1) + u32(attributes.modified) if attributes.modified is not None else b''
    return body + (u32(extended) + string(b'n') * 2 * extended if extended else b'')


ATTRIBUTES = st.builds(Attributes, st.none() | U64, st.none() | U32, st.none() | U32)


@given(ATTRIBUTES, st.booleans(), st.integers(0, 3), st.binary(max_size=20))
def test_attributes_are_read_as_packed(attributes, owner, extended, name):
    packed = pack(attributes, owner, extended)
    assert Fields(packed).attributes() == attributes
    page = u32(2) + (string(name) + string(b'-rw') + packed) * 2
    assert Fields(page).names() == [(name, attributes)] * 2


@given(ATTRIBUTES, st.booleans(), st.integers(0, 3), st.data())
def test_what_is_cut_is_malformed(attributes, owner, extended, data):
    packed = string(b'name') + string(b'long') + pack(attributes, owner, extended)
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(Malformed):
        Fields(u32(1) + packed[:cut]).names()


@given(st.binary(max_size=80))
def test_no_bytes_do_worse_than_malformed(body):
    for read in (Fields.names, Fields.attributes, Fields.string, Fields.rest, Fields.space):
        try:
            read(Fields(body))
        except Malformed:
            pass


def test_a_huge_count_is_malformed_at_once():
    with pytest.raises(Malformed):
        Fields(u32(0xffffffff) + b'x' * 40).names()


def test_space_is_in_bytes():
    body = b''.join(u64(n) for n in (512, 4096, 100, 50, 40, 1000, 9, 8, 0, 1, 255))
    assert Fields(body).space() == packets.Space(40 * 4096, 1000, 8, True)


def test_what_a_server_says_cannot_move_the_cursor():
    assert packets.printable(b'no\x1b[2J\r\n way\xff' + b'x' * 999) == (
        'no [2J   way\ufffd' + 'x' * 287)
