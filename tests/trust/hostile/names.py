"""Names that nobody should give a container, an object, a volume or a backend: more than 300."""

from __future__ import annotations

from collections.abc import Iterator
import itertools

UP = [
    '..', '../', '../..', '../../../../../../etc/passwd', '..\\..\\x', '....//....//x', '..;/x',
    '.../x', '..%2f..%2fx', '%2e%2e/%2e%2e/x', '%2e%2e%2fx', '..%00/x', '..%c0%afx', '%252e%252e/x',
    '..\u2215x', '\u2024\u2024/x', '\uff0e\uff0e/x', '\uff0e\uff0e\uff0fx', '.\u200b./x',
    '..\u202e/x', '..\u0000', '..\n', '..\r', '.. ', ' ..', '..\t', '..~', '~/../x', './..', '.',
    './', './x', 'a/.', 'a/..', 'a/../..', 'a/../../outside/canary', 'a//b', '//', '/', '///x',
    'a/', '/a/', 'a/./b']
ABSOLUTE = [
    '/etc/passwd', '//etc/passwd', '\\etc\\passwd', 'C:\\x', 'C:/x', '\\\\host\\share', '~',
    '~root', '~root/x', '$HOME', '${HOME}/x', '`id`', '$(id)', 'file:///etc/passwd',
    'http://127.0.0.1/x', '/proc/self/environ', '/dev/null', '/dev/fd/0', '|id', ';id', '&id']
CONTROL = [chr(code) for code in (
    *range(32), 127, 0x85, 0xa0, 0x200b, 0x2028, 0x202e, 0xfeff, 0xfffe)]
DASHES = ['-', '--', '-rf', '--help', '-oProxyCommand=id', '-o', '--config-file=/etc/passwd', '- x']
DOTS = [
    '.x', '.bf-owner', '.bf-tmp', '.tmp-', '.tmp-' + '0' * 32, '.container', '.snapshot', '.nfs000',
    '.ssh/authorized_keys', '.git/config', '.bashrc', '..x', '...', '.x/y', 'a/.x', 'a/.container',
    'bf-container.', 'bf-container.owner', 'lost+found']
WHOLE = [
    'CON', 'NUL', 'aux.txt', 'a:b', 'a?b', 'a*b', '[a]', '{a,b}', 'a|b', 'a<b', 'a>b', 'a"b', "a'b",
    'a;b', 'a&b', 'a#b', 'a%b', 'a@b', 'a=b', 'a,b', 'a+b', 'a\\b', 'a b', ' a', 'a ', 'None',
    'null', 'x_metadata', '_metadata', 'x-00001', 'x_map', 'x_sha256file', 'x' * 255, 'x' * 256,
    'x' * 1024, 'x' * 1025, 'x' * 5000, 'ö' * 200, '\U0001f4be' * 90, '\U0001f4be' * 1024,
    'x/' * 60 + 'x', 'x/' * 511 + 'x', 'x/' * 3000, 'e\u0301', '\u00e9', '\ud800', '\udc80',
    '\udcff', 'a\ud800b', '\u0130', '\ufb01', '\u017f', '٣', '%s%s%s%n', '%(a)s', '{0}', '{x}',
    '\\x00']
LINKS = [
    'link', 'link/canary', 'link/new', 'shelf/link', 'shelf/linked', 'shelf/linked/canary',
    'shelf/dangling', 'dangling', 'linked', 'pipe', 'shelf/pipe']
"""Symbolic links out of the store, and FIFOs, that somebody put into it."""


def _generated() -> Iterator[str]:
    pieces = ('..', '', 'a', '\0', '.', '~', '\\')
    yield from ('/'.join(each) for each in itertools.product(pieces, repeat=2))
    yield from ('/'.join(each) for each in itertools.product(pieces[:4], repeat=3))
    for odd in CONTROL:
        yield from (odd, f'a{odd}b', f'{odd}../x', f'a/{odd}/b')


NAMES = sorted({*UP, *ABSOLUTE, *DASHES, *DOTS, *WHOLE, *LINKS, *_generated()})
