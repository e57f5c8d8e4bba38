"""The parsers under atheris, which looks for inputs that take new ways: `make fuzz SECONDS=60`.

Each parser runs in a process of its own, for so long. What breaks one is left in `corpus/PARSER`
as a file that every test run feeds from then on; so are, with --keep, some of those that took new
ways.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
import subprocess
import sys
import tempfile

CORPUS = Path(__file__).parent / 'corpus'
LONGEST = 2048
"""Bytes of an input."""
MEMORY_MIB = 1024
"""Of the whole process, the fuzzer's own needs included."""
SECONDS_AN_INPUT = 10
"""The fuzzer slows parsers down some ten times; test_fuzz.py measures them as they are."""


def run_one(name: str, options: list[str]) -> None:
    """Become the fuzzer of one parser. It ends the process."""
    import atheris
    with atheris.instrument_imports(include=['backup_framework']):
        from tests.trust.hostile import parsers
    parser = parsers.FUZZED[name]

    def one(data: bytes) -> None:
        try:
            parser.parse(data)
        except parsers.DECLARED:
            pass

    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


def fuzz(name: str, seconds: int, keep: int) -> int:
    """Feed a parser; how many inputs broke it."""
    from tests.trust.hostile import parsers
    with tempfile.TemporaryDirectory(prefix='fuzz-') as directory:
        grown, broken = Path(directory, 'grown'), Path(directory, 'broken')
        for each in (grown, broken):
            each.mkdir()
        for data in parsers.FUZZED[name].samples():
            _keep(grown, data)
        kept = [str(CORPUS / name)] if (CORPUS / name).is_dir() else []
        _child(name, f'-max_total_time={seconds}', f'-artifact_prefix={broken}/',
               f'-max_len={LONGEST}', f'-rss_limit_mb={MEMORY_MIB}',
               f'-timeout={SECONDS_AN_INPUT}', '-verbosity=0', '-print_final_stats=1',
               str(grown), *kept)
        found = list(broken.iterdir())
        for file in found:
            print(f'{name}: broken by {_keep(CORPUS / name, file.read_bytes())}', flush=True)
        by_size = sorted(grown.iterdir(), key=lambda file: file.stat().st_size)
        for file in by_size[-keep:] if keep else ():
            _keep(CORPUS / name, file.read_bytes())
        return len(found)


def _child(name: str, *options: str) -> None:
    # Its exit code says that something was found, which the files say as well.
    subprocess.run([sys.executable, '-m', __spec__.name, '--run', name, *options], check=False)


def _keep(directory: Path, data: bytes) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / hashlib.sha256(data).hexdigest()[:16]
    file.write_bytes(data)
    return file


def main() -> int:
    if sys.argv[1:2] == ['--run']:
        run_one(sys.argv[2], sys.argv[3:])
    reader = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    reader.add_argument('--seconds', type=int, default=60, help='for each parser')
    reader.add_argument('--keep', type=int, default=0, metavar='N',
                        help='keep so many inputs that take new ways')
    reader.add_argument('parser', nargs='*')
    chosen = reader.parse_args()
    try:
        import atheris  # noqa: F401
    except ImportError:
        print('nothing was fuzzed: atheris is not installed; pip install -e ".[fuzz]" does that')
        return 0
    from tests.trust.hostile import parsers
    names = chosen.parser or list(parsers.FUZZED)
    return 1 if sum(fuzz(name, chosen.seconds, chosen.keep) for name in names) else 0


if __name__ == '__main__':
    sys.exit(main())
