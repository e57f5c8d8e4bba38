"""Keeps secrets out of logs and messages.

Two nets: forms that secrets come in (`password=...`, URLs, headers, PEM), on top of oslo's, and
the very values of the secret options that this process has read. When in doubt more is masked.
"""

from __future__ import annotations

import functools
import json
import logging
import re
from typing import Any
import urllib.parse

MASK = '***'

_NAME = (r'(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|encryption[_-]?key|'
         r'auth[_-]?key|(?:master|data|account|shared)[_-]?key|backup[_-]?url|upload[_-]?id|'
         r'credentials?|signature)')
# A name of one of our NAME_file options is followed by a path, which messages must show.
_KEY = rf'{_NAME}s?[0-9]*(?![\w-])'
_SECRET_KEY = re.compile(rf'{_NAME}s?[0-9]*$', re.IGNORECASE)
_QUOTED = r'"(?:[^"\\]|\\.)*(?:"|$)' r"|'(?:[^'\\]|\\.)*(?:'|$)"
_PLAIN = r"""\S*[^\s"',;)}\]]|\S+"""
_VALUE = rf'(?:[bu]?(?:{_QUOTED})|\\"(?:[^"\\]|\\[^"])*\\"|{_PLAIN})'
# Words that follow "password" in a sentence about one.
_PROSE = (r'(?:is|was|are|were|for|of|from|in|into|and|or|to|by|with|on|at|as|file|files|option|'
          r'options|required|must|not|missing|wrong|has|have|cannot|can|given|expired|invalid|'
          r'authentication|prompt|that|which|the|a|an|it|does|did|refused|rejected|accepted)\b')

_FORMS = (
    # PEM blocks, also with escaped line ends, also cut off.
    (r'(-----BEGIN (?!CERTIFICATE-|PUBLIC KEY-)[A-Z0-9 ]+-----)'
     r'.*?(?:(-----END [A-Z0-9 ]+-----)|\Z)', rf'\1{MASK}\2'),
    (r'\b(proxy-authorization|authorization)(["\']?\s*[:=,]\s*)(?:b?["\'])?[^\r\n"\']+',
     rf'\1\2{MASK}'),
    (rf'\b(bearer\s+)(?!{_PROSE}|tokens?\b)[^\s"\',;]+', rf'\1{MASK}'),
    # URL credentials; a password may hold @ and /, but host:port/ is no password.
    (r'\b(https?://)[^\s/:@"\'<>]+@', rf'\1{MASK}@'),
    (r'\b([a-z][a-z0-9+.-]{0,30}://[^\s/:@"\'<>]*:)(?![0-9]{1,5}/)[^\s"\'<>]*@', rf'\1{MASK}@'),
    (r'([?&](?:x-(?:amz|goog)-(?:signature|credential|security-token)|sig|signature)=)'
     r'[^\s&"\'<>]+', rf'\1{MASK}'),
    # A phrase has blanks in it: its end is the end of the line.
    (r'(passphrase\s*[:=]\s*)(?!["\'])[^\r\n]+', rf'\1{MASK}'),
    (rf'({_KEY}(?:\\?["\'])?\s*(?:[:=]+>?|,(?=\s*[bu]?["\']))\s*){_VALUE}', rf'\1{MASK}'),
    (rf'({_KEY}\s+)(?!{_PROSE}|[-=:]){_VALUE}', rf'\1{MASK}'),
    # Tokens that show what they are: JSON web tokens, Google's, Fernet.
    (r'\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?', MASK),
    (r'\bya29\.[\w.-]+', MASK),
    (r'\bgAAAA[\w=-]{20,}', MASK),
)

_secrets: set[str] = set()
_literals: re.Pattern[str] | None = None


def add_secret(value: Any) -> None:
    """Mask this value from now on wherever it appears; None and '' are ignored."""
    global _literals
    if value is None or value == '' or value == MASK:
        return
    _secrets.update(_spellings(str(value)))
    longest_first = sorted(_secrets, key=len, reverse=True)
    _literals = re.compile('|'.join(_literal(text) for text in longest_first))


def add_url(url: str | None) -> None:
    """Mask the password of a URL, which is shown without it."""
    credentials = re.search(r'://[^:/@]*:(.*)@', url or '')
    if credentials:
        add_secret(credentials[1])
        add_secret(urllib.parse.unquote(credentials[1]))


def forget_secrets() -> None:
    """Start again: another configuration is loaded."""
    global _literals
    _secrets.clear()
    _literals = None


def _spellings(value: str) -> set[str]:
    """A value as it may stand in a log: itself, escaped, quoted, and its long lines."""
    spellings = {value, repr(value)[1:-1], json.dumps(value)[1:-1],
                 urllib.parse.quote(value, safe=''), urllib.parse.quote_plus(value)}
    spellings |= {line.strip() for line in value.splitlines() if len(line.strip()) >= 12}
    return {spelling for spelling in spellings if spelling.strip()}


def _literal(text: str) -> str:
    """A short secret is masked only as a word, or it would take letters out of every message."""
    escaped = re.escape(text)
    return rf'(?<!\w){escaped}(?!\w)' if len(text) < 4 else escaped


def mask(text: str) -> str:
    """The text without secrets."""
    # Its patterns take longer to compile than all else here, and most commands say nothing.
    from oslo_utils import strutils
    literals = _literals
    if literals is not None:
        text = literals.sub(MASK, text)
    for pattern, replacement in _patterns():
        text = pattern.sub(replacement, text)
    return strutils.mask_password(text, secret=MASK)


@functools.cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern, re.IGNORECASE | re.DOTALL), replacement)
            for pattern, replacement in _FORMS]


def mask_data(value: Any) -> Any:
    """JSON-like data without secrets: texts are masked, and what stands under a secret's name."""
    if isinstance(value, dict):
        return {name: MASK if isinstance(item, str) and _SECRET_KEY.search(name)
                else mask_data(item) for name, item in value.items()}
    if isinstance(value, list):
        return [mask_data(item) for item in value]
    return mask(value) if isinstance(value, str) else value


class MaskingFilter(logging.Filter):
    """Masks a record's message, for handlers that look into records."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            # A wrong call of the logger: logging reports it, without the arguments.
            record.args, message = None, str(record.msg)
        masked = mask(message)
        if masked != message or record.args:
            record.msg, record.args = masked, None
        return True


class MaskingFormatter(logging.Formatter):
    """Another formatter's lines, traceback and context included, without secrets."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> Any:
        line: Any = self.inner.format(record)
        if isinstance(line, dict):
            # What oslo.log makes for fluentd.
            return mask_data(line)
        try:
            # Masked as text JSON might lose its quotes.
            return json.dumps(mask_data(json.loads(line))) if line.startswith('{') else mask(line)
        except ValueError:
            return mask(line)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return self.inner.formatTime(record, datefmt)

    def formatException(self, ei: Any) -> str:
        return mask(self.inner.formatException(ei))


def install(handler: logging.Handler) -> None:
    """Let a handler write nothing secret; doing so twice is fine."""
    if isinstance(handler.formatter, MaskingFormatter):
        return
    handler.addFilter(MaskingFilter())
    handler.setFormatter(MaskingFormatter(handler.formatter or logging.Formatter()))
