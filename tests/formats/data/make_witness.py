"""Makes the witness stores: small stores written by real Cinder 29.0.0, kept as test data.

Every byte below `store/` was written by Cinder's own posix driver, driven by
tests/interop/cinder_host.py; this script only chooses what the volumes hold, the options, the ids
and the times. The data are never edited: a case that exists is left alone, and what should be
different gets a new case. `volumes_of(case)` makes the volumes' contents again, from fixed seeds.

    BF_CINDER_VENV=... python tests/formats/data/make_witness.py [DIRECTORY]
"""

import hashlib
import json
import pathlib
import sys
import tempfile
import uuid

HERE = pathlib.Path(__file__).resolve().parent
STORES = HERE / 'cinder-29.0.0'
NAMESPACE = uuid.UUID('7d0f3c52-5a0b-4c43-9a4e-6f1f0f3a9b11')
SMALL = {'backup_sha_block_size_bytes': 4096, 'backup_file_size': 8192}
WIDE = {'backup_sha_block_size_bytes': 4096, 'backup_file_size': 16384}

# What a volume becomes: (kind, first block, count) with kinds text, noise and zero, or
# ('size', bytes). Blocks are those of 4096 bytes; the last one is as short as the volume is.

WIDE_FULL = [('size', 16 * 4096 + 777), ('text', 0, 4), ('text', 8, 2), ('noise', 10, 1),
             ('text', 12, 5)]
WIDE_CHANGED = [('text', 1, 2), ('zero', 3, 1), ('text', 5, 1), ('noise', 9, 1), ('text', 15, 2)]
WIDE_AGAIN = [('zero', 0, 2), ('text', 3, 1), ('zero', 5, 1), ('text', 8, 4), ('zero', 16, 1)]
SMALL_FULL = [('size', 5 * 4096 + 777), ('text', 0, 6)]
SMALL_CHANGED = [('text', 1, 1), ('zero', 2, 1), ('text', 5, 1)]
SMALL_AGAIN = [('zero', 1, 1), ('text', 2, 2)]


def step(edits, parent=None, options=SMALL, backup=None, volume=0, **more):
    """One backup of a case: of which volume, after which edits, on which earlier backup."""
    return {'edits': edits, 'parent': parent, 'options': options, 'backup': backup or {},
            'volume': volume, 'more': more}


def codec(name):
    options = dict(WIDE, backup_compression_algorithm=name)
    return [step(WIDE_FULL, None, options), step(WIDE_CHANGED, 0, options),
            step([], 1, options), step(WIDE_AGAIN, 2, options)]


def chain(options=SMALL, **more):
    return [step(SMALL_FULL, None, options, **more), step(SMALL_CHANGED, 0, options, **more),
            step(SMALL_AGAIN, 1, options, **more)]


def with_codec(name, chunk_size):
    return dict(SMALL, backup_compression_algorithm=name, backup_file_size=chunk_size)


def mixed_options():
    """A chunk size and a codec of its own for each backup of the chain."""
    return [step(SMALL_FULL, None, with_codec('zlib', 8192)),
            step(SMALL_CHANGED, 0, with_codec('zstd', 12288)),
            step(SMALL_AGAIN, 1, with_codec('none', 4096)),
            step([('text', 0, 6)], 2, with_codec('bz2', 20480))]


def volume_meta(version):
    """Names, user metadata and image properties that change between the two backups."""
    options = dict(SMALL, backup_metadata_version=version)
    first = {'volume': {'display_name': 'mail', 'display_description': 'the mail spool',
                        'bootable': True, 'launched_at': '2026-09-01T08:00:00'},
             'metadata': {'tier': 'gold', 'owner': 'post'},
             'glance': {'image_name': 'debian-12', 'min_ram': '512', 'os_type': 'linux'}}
    second = {'volume': dict(first['volume'], display_name='mail (old)',
                             encryption_key_id='4f0c2b0e-7c0b-4a57-9f0c-0d8f3b6f2a10',
                             volume_type_id='b8a7c3b2-6d0a-4b0e-8f1a-2f6c5d4e3b2a'),
              'metadata': {'tier': 'silver', 'größe': 'groß'}}
    if version == 1:
        del second['volume']['encryption_key_id']
    return [step(SMALL_FULL, None, options, metadata=first),
            step(SMALL_CHANGED, 0, options, metadata=second)]


def shrunk():
    """The volume becomes smaller, in the record's GiB and in bytes, and then stays so."""
    return [step(SMALL_FULL, backup={'size': 2}),
            step([('size', 3 * 4096 + 500), ('text', 1, 1)], 0, backup={'size': 1}),
            step([('zero', 2, 1)], 1, backup={'size': 1})]


def names():
    return [step(SMALL_FULL, backup={
        'display_name': 'Sicherung "für" 東京 \U0001f5c4', 'display_description': 'a\nb\t\\c é',
        'metadata': {'clé': 'valeur'}, 'created_at': '2026-10-01T03:04:05.678901'})]


def shared_container():
    """Two volumes in one container that the request named."""
    named = {'container': 'nightly/2026'}
    return [step(SMALL_FULL, backup=named), step(SMALL_FULL, backup=named, volume=1),
            step(SMALL_CHANGED, 0, backup=named), step(SMALL_AGAIN, 1, backup=named, volume=1)]


def siblings():
    """Two incrementals on one full backup; the later one is not on the earlier one."""
    return [step(SMALL_FULL), step(SMALL_CHANGED, 0), step(SMALL_AGAIN, 0)]


def extra_metadata():
    first = {'vendor': {'snapshot': 'snap-1', 'sizes': [1, 2.5, None]}, 'unité': True}
    return [step(SMALL_FULL, extra_metadata=first),
            step(SMALL_CHANGED, 0, extra_metadata={'vendor': {'snapshot': 'snap-2'}})]


CASES = {
    'codec-none': codec('none'), 'codec-zlib': codec('zlib'), 'codec-gzip': codec('gzip'),
    'codec-bz2': codec('bz2'), 'codec-bzip2': codec('bzip2'), 'codec-zstd': codec('zstd'),
    'mixed-options': mixed_options(),
    'odd-block-size': chain({'backup_sha_block_size_bytes': 3000, 'backup_file_size': 9000}),
    'prefix-slash': chain(prefix_style='slash'),
    'prefix-constant': chain(prefix_style='constant'),
    'volume-meta-v1': volume_meta(1), 'volume-meta-v2': volume_meta(2),
    'volume-meta-none': [step(SMALL_FULL, metadata=False)],
    'extra-metadata': extra_metadata(),
    'shrunk': shrunk(), 'names': names(), 'shared-container': shared_container(),
    'siblings': siblings(),
    'zero-bytes': [step([])],
    'all-zero': [step([('size', 4 * 4096)]), step([('text', 1, 1)], 0), step([('zero', 1, 1)], 1)],
}


# Contents

def volumes_of(case):
    """The volume's bytes at each backup of a case, in the order of records.json."""
    states, latest = [], {}
    for number, item in enumerate(CASES[case]):
        data = latest.get(item['volume'], b'')
        for edit, change in enumerate(item['edits']):
            data = edited(data, change, 'volume %d, %d.%d' % (item['volume'], number, edit))
        latest[item['volume']] = data
        states.append(data)
    return states


def edited(data, change, seed):
    if change[0] == 'size':
        return data[:change[1]].ljust(change[1], b'\0')
    kind, first, count = change
    start, end = first * 4096, min((first + count) * 4096, len(data))
    return data[:start] + MAKERS[kind](seed, end - start) + data[end:]


def text(seed, size):
    """Lines that a codec makes smaller: of sixteen, fifteen say little new."""
    lines, number = [], 0
    while len(lines) * 28 < size:
        word = hashlib.sha256(('%s/%d' % (seed, number // 16)).encode()).hexdigest()[:16]
        lines.append('line %05d %s\n' % (number, word))
        number += 1
    return ''.join(lines).encode()[:size]


def noise(seed, size):
    words = ['%s/%d' % (seed, number) for number in range(size // 32 + 1)]
    return b''.join(hashlib.sha256(word.encode()).digest() for word in words)[:size]


def zero(seed, size):
    return bytes(size)


MAKERS = {'text': text, 'noise': noise, 'zero': zero}


# Stores

def make_case(cinder, case, folder):
    store = folder / 'store'
    store.mkdir(parents=True)
    records, expected = [], []
    for number, data in enumerate(volumes_of(case)):
        record = make_backup(cinder, case, number, data, store, records)
        records.append(record)
        expected.append({'id': record['id'], 'size': len(data),
                         'sha256': hashlib.sha256(data).hexdigest()})
    write_json(folder / 'records.json', records)
    write_json(folder / 'expected.json', expected)


def make_backup(cinder, case, number, data, store, records):
    item = CASES[case][number]
    fields = {'id': fixed_id(case, 'backup', number), 'display_name': '%s %d' % (case, number),
              'volume_id': fixed_id(case, 'volume', item['volume']), **item['backup']}
    if item['parent'] is not None:
        fields['parent_id'] = records[item['parent']]['id']
    with tempfile.NamedTemporaryFile() as volume:
        volume.write(data)
        volume.flush()
        made = cinder.backup(store, volume.name, fields, item['options'],
                             now='2026-10-%02dT01:02:03' % (number + 1), **item['more'])
    keys = ('id', 'parent_id', 'volume_id', 'container', 'service_metadata', 'object_count',
            'size', 'created_at', 'display_name', 'display_description')
    return {**made['export'], **{key: made['record'][key] for key in keys},
            'prefix_style': item['more'].get('prefix_style', 'posix'), 'options': item['options']}


def fixed_id(case, what, number):
    return str(uuid.uuid5(NAMESPACE, '%s/%s/%d' % (case, what, number)))


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + '\n')


def main(arguments):
    sys.path[:0] = [str(HERE.parents[1] / 'interop'), str(HERE.parents[2])]
    import cinder_client
    stores = pathlib.Path(arguments[0]) if arguments else STORES
    with tempfile.TemporaryDirectory() as scratch:
        cinder = cinder_client.Cinder(cinder_client.find_or_build(), pathlib.Path(scratch, 'log'))
        for case in CASES:
            if not (stores / case).exists():
                make_case(cinder, case, stores / case)
        cinder.close()


if __name__ == '__main__':
    main(sys.argv[1:])
