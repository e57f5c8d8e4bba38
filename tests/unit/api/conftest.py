"""A service that two projects have something in, without workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.api import world as worlds
from tests.unit.api.world import World


@pytest.fixture(scope='session')
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    place = tmp_path_factory.mktemp('world')
    made = worlds.make(place)
    made.catalog.close()
    return made, place


@pytest.fixture
def make_world(template: tuple[World, Path], tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Gives a world of one's own; `text` is more of its configuration."""
    made: list[World] = []

    def make(text: str = '') -> World:
        made.append(worlds.copy(*template, tmp_path / f'world{len(made)}', text))
        return made[-1]
    yield make
    for each in made:
        each.catalog.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()
