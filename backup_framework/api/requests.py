"""A request, and what it says: its path, its query, its body. All of it is untrusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
import dataclasses
import json
from typing import TYPE_CHECKING, Any, NoReturn
import urllib.parse

from microversion_parse import Version
import webob
import webob.exc

from backup_framework.api import microversions, schemas
from backup_framework.exceptions import NotFound
from backup_framework.model import Page

if TYPE_CHECKING:
    from backup_framework.api.context import RequestContext
    from backup_framework.api.metrics import Requests
    from backup_framework.api.routes import Route
    from backup_framework.catalog import Catalog
    from backup_framework.conf.configuration import Configuration
    from backup_framework.manager import Manager
    from backup_framework.service.dispatch import Dispatcher
    from backup_framework.service.notifications import Notifications

JSON_TYPES = ('application/json', 'application/vnd.openstack.volume+json')
LARGEST = (1 << 31) - 1

_MOST_PARAMETERS = 100


class Request(webob.Request):
    """A request with what a controller needs to answer it.

    :ivar context: who asks.
    :ivar version: the microversion that is wanted.
    :ivar url_project: the project in the URL, or None.
    :ivar document: the body, read and checked; None where the route takes none.
    :ivar route: None until it is found.
    :ivar configuration, catalog, manager, dispatcher, counters, notifications: those of the
        process.
    """

    context: RequestContext
    version: Version
    url_project: str | None
    document: Any
    route: Route | None
    configuration: Configuration
    catalog: Catalog
    manager: Manager
    dispatcher: Dispatcher
    counters: Requests
    notifications: Notifications


@dataclasses.dataclass(frozen=True)
class Listable:
    """What a collection can be filtered and sorted by: the API's words, and the catalog's for them.

    :ivar sort_keys: by which it can be sorted.
    :ivar filters: what may be given with a value.
    :ivar admin_filters: what only admins may give.
    :ivar like: what may be given with `~` and a part of the value.
    """

    sort_keys: Mapping[str, str]
    filters: Mapping[str, str]
    admin_filters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    like: Mapping[str, str] = dataclasses.field(default_factory=dict)


def same(*names: str) -> dict[str, str]:
    """Words that the catalog has too."""
    return dict(zip(names, names, strict=True))


@dataclasses.dataclass
class Listing:
    """Which part of a collection is wanted, as the catalog's pages take it."""

    filters: dict[str, Any]
    like: dict[str, str]
    sort: list[tuple[str, str]]
    limit: int
    marker: str | None
    offset: int
    with_count: bool
    all_projects: bool

    def arguments(self) -> dict[str, Any]:
        """For `catalog.*_page`, which is told of projects otherwise."""
        names = ('filters', 'like', 'sort', 'limit', 'marker', 'offset', 'with_count')
        return {name: getattr(self, name) for name in names}


def bad(message: str) -> NoReturn:
    """Refuse a request that makes no sense."""
    raise webob.exc.HTTPBadRequest(message)


def path_of(request: webob.Request) -> str:
    """The path behind the application's own; bytes that are no UTF-8 fit no name."""
    raw: str = request.environ.get('PATH_INFO', '')
    return raw.encode('latin-1').decode('utf-8', 'replace') or '/'


def query_of(request: webob.Request) -> dict[str, str]:
    """The parameters of the URL; of one that is given twice the last counts."""
    try:
        pairs = urllib.parse.parse_qsl(request.query_string, keep_blank_values=True,
                                       errors='strict', max_num_fields=_MOST_PARAMETERS)
    except UnicodeError:
        bad('The query of the URL holds characters that are not UTF-8.')
    except ValueError:
        bad(f'The query of the URL has more than {_MOST_PARAMETERS} parameters.')
    if any('\0' in text for pair in pairs for text in pair):
        bad('The query of the URL holds a NUL character.')
    return dict(pairs)


def boolean(value: bool | str, name: str) -> bool:
    """A boolean that may be a word."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower()
    if word not in (*schemas.TRUE, *schemas.FALSE):
        bad(f'Value {value[:40]!r} for {name} is no boolean.')
    return word in schemas.TRUE


def listing(request: Request, listable: Listable) -> Listing:
    """What the query of a list says.

    Before microversion 3.31 parameters that nobody knows are ignored.
    """
    query = query_of(request)
    admin = request.context.is_admin
    limit = _number(query.pop('limit', None), 'limit', None)
    largest = request.configuration.api.osapi_max_limit
    marker = query.pop('marker', None)
    offset = _number(query.pop('offset', None), 'offset', LARGEST)
    counting = request.version >= microversions.WITH_COUNT and 'with_count' in query
    count = boolean(query.pop('with_count'), 'with_count') if counting else False
    sort = _sort(query, listable.sort_keys)
    everybody = query.pop('all_tenants', None)
    every = bool(admin and everybody is not None and boolean(everybody, 'all_tenants'))
    names = {**listable.filters, **(listable.admin_filters if admin else {})}
    like = {}
    if request.version >= microversions.FILTERS:
        like = {key: query.pop(f'{name}~') for name, key in listable.like.items()
                if f'{name}~' in query}
        unknown = sorted(set(query) - set(names))
        if unknown:
            bad(f'Invalid filters {",".join(unknown)[:200]} are found in query options.')
    filters = {key: query[name] for name, key in names.items() if name in query}
    return Listing(filters, like, sort, largest if limit is None else min(limit, largest), marker,
                   offset or 0, count, every)


def _number(text: str | None, name: str, largest: int | None) -> int | None:
    if text is None:
        return None
    try:
        number = int(text)
    except ValueError:
        bad(f'{name} param must be an integer')
    if number < 0:
        bad(f'{name} param must be positive')
    if largest is not None and number > largest:
        bad(f'{name} must be <= {largest}')
    return number


def page_of(request: Request, find: Callable[..., Page[Any]], wanted: Listing) -> Page[Any]:
    """What a list shows. `find` is one of the pages of the catalog."""
    project = None if wanted.all_projects else request.context.project_id
    try:
        return find(project, **wanted.arguments())
    except NotFound as error:
        bad(str(error))


def _sort(query: dict[str, str], known: Mapping[str, str]) -> list[tuple[str, str]]:
    if 'sort' in query and ('sort_key' in query or 'sort_dir' in query):
        bad("The 'sort_key' and 'sort_dir' parameters are deprecated and cannot be used with the "
            "'sort' parameter.")
    key, direction = query.pop('sort_key', 'created_at'), query.pop('sort_dir', 'desc')
    pairs = [f'{key}:{direction}']
    if 'sort' in query:
        pairs = query.pop('sort').split(',')
    wanted: dict[str, str] = {}
    for pair in pairs:
        key, _, direction = (part.strip() for part in pair.partition(':'))
        if key not in known:
            bad(f'Sort key supplied is invalid: {key[:40]}')
        if direction not in ('asc', 'desc', ''):
            bad(f'Unknown sort direction, must be one of: asc, desc; not {direction[:40]}')
        wanted.setdefault(known[key], direction or 'desc')
    return list(wanted.items())


def read_document(request: webob.Request) -> Any:
    """The body as JSON.

    :raises webob.exc.HTTPUnsupportedMediaType: it says that it is something else.
    """
    if request.content_type not in ('', *JSON_TYPES):
        raise webob.exc.HTTPUnsupportedMediaType('Unsupported Content-Type')
    try:
        document = json.loads(request.body.decode('utf-8'), parse_constant=_no_number)
    except TimeoutError:
        raise webob.exc.HTTPRequestTimeout('The body of the request did not come in time.')
    except (ValueError, RecursionError, OSError):
        bad('Malformed request body')
    if not _storable(document):
        bad('Malformed request body: it holds characters that cannot be kept')
    return document


def check_document(schema: schemas.Schema, document: object) -> None:
    """:raises webob.exc.HTTPBadRequest: the body is not as the schema wants it."""
    try:
        problem = schemas.problem(schema, document)
    except RecursionError:
        bad('Malformed request body: it is nested too deeply')
    if problem is not None:
        bad(problem)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f'{text} is no number of JSON')


def _storable(document: object) -> bool:
    """Whether no text has a NUL or half a surrogate pair, which no database takes."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and ('\0' in value or _has_surrogates(value)):
            return False
    return True


def _has_surrogates(text: str) -> bool:
    return not text.isascii() and any('\ud800' <= character <= '\udfff' for character in text)


def text(document: Mapping[str, Any], name: str) -> str | None:
    """A member of a body without the spaces around it."""
    value: str | None = document.get(name)
    return None if value is None else value.strip()
