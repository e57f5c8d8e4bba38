"""The road from Cinder to format 2.0.0 and back: what Cinder wrote, copied twice, Cinder restores.
"""

import installation
from installation import SHELF
import pytest

OURS, CINDERS = '2.0.0', '1.0.0'


def copied(ours, backup_id, version):
    """The copies of a chain, root first."""
    rows = ours.run('backup', 'copy', backup_id, '--to-backend', SHELF, '--format', version,
                    '--chain')
    assert {row['format'] for row in rows} == {version}
    return [row['id'] for row in rows]


@pytest.mark.parametrize('case', ['codec-zlib', 'mixed-options', 'all-zero'])
def test_a_chain_of_cinders_goes_to_our_format_and_back(cinder, ours, store, tmp_path, case):
    made = installation.cinders_chain(cinder, case, tmp_path)
    assert len(ours.rebuild()) == len(made)
    there = copied(ours, made[-1].id, OURS)
    for each in reversed(made):
        cinder.delete(store, each.exports)
    for each, copy in zip(made, there, strict=True):
        assert ours.restored(copy, tmp_path / copy) == each.data
        assert ours.verify(copy) == []
    back = copied(ours, there[-1], CINDERS)
    for each, copy in zip(made, back, strict=True):
        backup = ours.catalog.get_backup(copy)
        assert backup.metadata['copied_from'] == there[back.index(copy)]
        assert (backup.volume_id, backup.size) == (each.volume_id, each.record['size'])
        target = tmp_path / f'{copy}-cinders'
        cinder.restore(store, ours.exports(copy), target, target_size=len(each.data))
        assert target.read_bytes() == each.data
