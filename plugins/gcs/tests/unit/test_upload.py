"""The body of a request in pieces."""

from backup_framework_gcs.upload import PIECE, Body


def test_a_body_can_be_sent_twice():
    body = Body(b'head', bytearray(PIECE + 1), memoryview(b'tail'))
    assert len(body) == PIECE + 9
    for _ in range(2):
        pieces = [bytes(piece) for piece in body]
        assert [len(piece) for piece in pieces] == [4, PIECE, 1, 4]
        assert b''.join(pieces) == b'head' + bytes(PIECE + 1) + b'tail'
