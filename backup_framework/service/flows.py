"""A job as a flow of TaskFlow. Its state is kept in the database of the catalog."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
from typing import Any

from taskflow import exceptions as errors
from taskflow import states, task
from taskflow.engines import helpers
from taskflow.engines.action_engine.engine import SerialActionEngine
from taskflow.patterns import linear_flow
from taskflow.persistence import models
from taskflow.persistence.backends.impl_sqlalchemy import Connection, SQLAlchemyBackend
from taskflow.persistence.backends.sqlalchemy import tables

from backup_framework.catalog import Catalog
from backup_framework.exceptions import CatalogError
from backup_framework.model import Job

Work = Callable[[str, str | None], str | None]
"""Does a step, told why an earlier one failed; says why it failed itself."""


class Interrupted(BaseException):
    """A step stops here and is to be done again, by whoever has the job then.

    No Exception, so that TaskFlow neither reverts the flow nor records that the step has ended: its
    state stays what a killed process leaves.
    """


class Waiting(Interrupted):
    """A step is to be done again when other jobs have ended, which begin this one's anew."""


class Store(SQLAlchemyBackend):  # type: ignore[misc]
    """Where flows are kept."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__({}, engine=catalog.engine_for(tables.fetch))
        # It has no state, but makes SQLAlchemy compile all statements anew where it is.
        self._connection = Connection(self, self._upgrade_lock)

    def get_connection(self) -> Connection:
        return self._connection


class Step(task.Task):  # type: ignore[misc]
    """A step of a job. What does it is given when the flow is run."""

    work: Work

    def execute(self, **failures: str | None) -> str | None:
        return self.work(self.name, next(filter(None, failures.values()), None))


def make(steps: list[str]) -> linear_flow.Flow:
    """Each step hears why one of those before it failed: none is left out."""
    flow = linear_flow.Flow('job')
    for number, name in enumerate(steps):
        flow.add(Step(name, provides=_reason(name), requires=[_reason(each)
                                                              for each in steps[:number]]))
    return flow


def _reason(step: str) -> str:
    return f'failure of {step}'


STEPS = {'create': ['prepare', 'store', 'finish']}
"""By kind of job; the others have one."""


def keep(store: Store, job: Job) -> models.FlowDetail:
    """The flow of a job as it is kept, from now on where it is new.

    :raises CatalogError: the database cannot be used.
    """
    with _our_errors(f'keep the flow of job {job.id}'):
        connection = store.get_connection()
        with contextlib.suppress(errors.NotFound):
            return connection.get_logbook(job.id).find(job.id)
        book = models.LogBook(job.kind, uuid=job.id)
        detail = models.FlowDetail(job.kind, uuid=job.id)
        helpers.save_factory_details(detail, make, [STEPS.get(job.kind, ['run'])], None)
        book.add(detail)
        try:
            return connection.save_logbook(book).find(job.id)
        except errors.StorageFailure:
            # Somebody else may just have done so.
            return connection.get_logbook(job.id).find(job.id)


def run(store: Store, job: Job, work: Work) -> None:
    """Do what is left of a job: the step that was not ended, and those behind it.

    :raises Interrupted: from a step; it is the first one of the next run.
    :raises CatalogError: the database cannot be used; likewise.
    """
    detail = keep(store, job)
    flow = helpers.flow_from_detail(detail)
    for step, _ in flow.iter_nodes():
        step.work = work
    with _our_errors(f'go on with the flow of job {job.id}'):
        engine = SerialActionEngine(flow, detail, store, {})
        # The catalog has the progress of jobs. Here it would be every third write.
        engine.storage.set_task_progress = lambda *about: None
        engine.compile()
        engine.prepare()
        if detail.state == states.SUCCESS:
            # It ended, but the catalog says that the job did not.
            engine.reset()
        engine.run()


def is_kept(store: Store, job_id: str) -> bool:
    """Whether a job has a flow that has not come to its end.

    :raises CatalogError: the database cannot be used.
    """
    with _our_errors(f'look for the flow of job {job_id}'):
        try:
            store.get_connection().get_logbook(job_id, lazy=True)
        except errors.NotFound:
            return False
        return True


def forget(store: Store, job_id: str) -> None:
    """Drop the flow of a job that has ended, if it is kept.

    :raises CatalogError: the database cannot be used.
    """
    with _our_errors(f'forget the flow of job {job_id}'), contextlib.suppress(errors.NotFound):
        store.get_connection().destroy_logbook(job_id)


def kept(store: Store) -> set[str]:
    """The ids of the jobs whose flows are kept.

    :raises CatalogError: the database cannot be used.
    """
    with _our_errors('list the flows'):
        return {str(book.uuid) for book in store.get_connection().get_logbooks(lazy=True)}


@contextlib.contextmanager
def _our_errors(doing: str) -> Any:
    try:
        yield
    except errors.StorageFailure as error:
        cause = error.__cause__ or error
        cause = getattr(cause, 'orig', None) or cause
        raise CatalogError(f'cannot {doing}: {" ".join(str(cause).split())}') from error
