"""Chains copied between backends and formats, and what builds on a copy."""

from __future__ import annotations

import pytest

from tests.functional.conftest import change

FORMATS = ('1.0.0', '2.0.0')


@pytest.mark.parametrize('theirs', FORMATS)
@pytest.mark.parametrize('ours', FORMATS)
def test_a_chain_of_three_goes_to_another_backend(cli, volume, ours, theirs):
    cli.configure(
        default='enabled_backends = local, other', format=ours,
        more=f'[other]\ndriver = local\npath = {cli.directory}/other\nformat = {theirs}\n'
             'chunk_size = 64KiB\nblock_size = 4KiB')
    made, held = [], []
    for number in range(3):
        held.append(change(volume, number * 9000, bytes([number + 1]) * 5000))
        made.append(cli.create(volume, '--incremental'))
    copies = cli.json('backup', 'copy', made[-1]['id'], '--to-backend', 'other', '--chain')
    assert [each['copied_from'] for each in copies] == [each['id'] for each in made]
    assert {each['format'] for each in copies} == {theirs}
    shown = [cli.json('backup', 'show', each['id']) for each in copies]
    assert [each['parent_id'] for each in shown] == [None, copies[0]['id'], copies[1]['id']]
    for copied, data in zip(copies, held, strict=True):
        target = cli.directory / copied['id']
        cli.good('backup', 'restore', copied['id'], target)
        assert target.read_bytes() == data
    cli.good('backup', 'verify', '--all')
    after = cli.create(volume, '--incremental', '--backend', 'other')
    assert after['parent_id'] == copies[-1]['id'] and not after['warnings']
