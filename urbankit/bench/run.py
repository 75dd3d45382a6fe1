"""Runs a suite: what is missing and nothing else, one failure stopping none of the rest, into results and tables."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import pandas as pd

from urbankit.bench.figures import draw_tables
from urbankit.bench.pool import Job, Outcome, work
from urbankit.bench.store import Store, StoredRun, has_runs
from urbankit.bench.suite import Plan, SuiteRun, load_plan
from urbankit.city.city import City
from urbankit.recipe.recipe import Recipe
from urbankit.runs.data import prepare_city
from urbankit.runs.folder import Run
from urbankit.runs.records import run_results
from urbankit.tables.comparison import build_tables
from urbankit.tables.latex import latex
from urbankit.tables.markdown import markdown
from urbankit.tables.records import Ground, results
from urbankit.tables.table import Table
from urbankit.utils.errors import Problem, Problems, UserError, unwritable
from urbankit.utils.files import atomic_path, file_lock, read_json, write_json, write_text
from urbankit.utils.progress import Progress

WRITE_EVERY = 30.0
"""Seconds between tables of what is finished so far, at least;"""

WRITE_SHARE = 0.02
"""and of the time that passes, the share that writing them may take."""

TURN = 15.0
"""Seconds to wait for a folder in which another bench is at work: one that was killed may still be ending."""


@dataclass(frozen=True)
class Failure:
    """A run, or the floors, that did not end well. It goes on from where it was if `resumable`, as where its process
    died or the disk was full; else it begins anew."""

    row: str
    city: str
    seed: int | None
    key: str
    resumable: bool
    errors: list[str]
    log: str

    def __str__(self) -> str:
        seed = "floors" if self.seed is None else f"seed {self.seed}"
        return f"{' · '.join(part for part in (self.row, self.city, seed) if part)}: {self.errors[0]} (log: {self.log})"


@dataclass(frozen=True)
class Bench:
    """What a suite has come to: `results` as `results.parquet` has them, the `tables` of each name, and `failures`."""

    out: Path
    results: pd.DataFrame
    tables: dict[str, list[Table]]
    failures: list[Failure]


def run_suite(
    suite: str | Path | Mapping[str, Any] | Plan,
    out: str | Path | None = None,
    *,
    sets: Sequence[str] = (),
    data: str | Path | None = None,
    jobs: int = 1,
    rows: Sequence[str] = (),
    cities: Sequence[str] = (),
    progress: Progress | None = None,
) -> Bench:
    """Run what is missing of a suite in folder `out` (default `runs/<suite>`), and write results and tables there.

    `suite`, `sets`, `data` and `cities` are as `load_plan` takes them. `jobs` runs are done at a time, each with its
    share of the processors. `rows` and `cities` restrict what is run, not what is shown. Raises `UserError` for
    mistakes, before anything is run; a run that fails is among the `failures` of what is returned.
    """
    plan = suite if isinstance(suite, Plan) else load_plan(suite, sets, None if data is None else Path(data), cities)
    folder = Path(out) if out is not None else Path("runs") / plan.name
    plan.only(rows)  # says what is wrong with them
    with nullcontext(progress) if progress is not None else Progress() as shown, _turn(folder) as lock:
        prepared = _prepared(plan, folder, shown)
        plan = _restricted(plan, prepared)
        bench = _Bench(plan, folder, prepared, shown)
        try:
            bench.run(plan.only(rows), jobs, lock)
        finally:
            finished = bench.write()
        _draw(finished, shown)
    return finished


def _draw(finished: Bench, progress: Progress) -> None:
    """The tables as figures, once all is finished; their captions are in `figures/captions.json`."""
    folder = finished.out / "figures"
    try:
        drawn = draw_tables(finished.tables, folder)
        found = [{"file": drawing.png.name, "caption": drawing.caption} for drawing in drawn]
        write_json(folder / "captions.json", {"drawn": found, "left_out": []})
    except Exception as error:  # numbers and tables are written; a picture is not worth losing the exit status
        progress.say(f"figures were not drawn: {type(error).__name__}: {error}")


@contextmanager
def _turn(folder: Path) -> Iterator[IO[str]]:
    """The bench's folder for this process, and its workers, alone."""
    deadline = time.monotonic() + TURN
    with ExitStack() as held:
        while True:
            try:
                lock = held.enter_context(file_lock(folder / ".lock", wait=False))
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = f"{folder}: another bench is at work here. Wait for it, or choose another --out."
                    raise UserError(message) from None
                time.sleep(0.2)
            except OSError as error:
                raise unwritable(folder, "the bench's folder", error) from None
        yield lock


def _prepared(plan: Plan, out: Path, progress: Progress) -> dict[tuple[str, str], City]:
    """The city of every row and city of the suite, each prepared once, one after another.

    Of cities that are not to be run on, only those are wanted that have runs to show, and need not be here any more.
    """
    problems, cities = Problems(), {}
    shown = {cell.city for cell in plan.cells if plan.runs_on(cell.city) or has_runs(out, cell.city)}
    cells = [cell for cell in plan.cells if cell.city in shown]
    wanted = {cell.recipe.city.model_dump_json(): cell for cell in sorted(cells, key=lambda c: plan.runs_on(c.city))}
    for city, cell in wanted.items():
        try:
            cities[city] = prepare_city(cell.recipe, progress)
        except UserError as error:
            if plan.runs_on(cell.city):
                problems.extend(error.problems)
    problems.raise_if_any()
    found = {(cell.row, cell.city): cities.get(cell.recipe.city.model_dump_json()) for cell in cells}
    return {place: city for place, city in found.items() if city is not None}


def _restricted(plan: Plan, cities: Mapping[tuple[str, str], City]) -> Plan:
    """The plan of the rows and cities that are here."""
    cells = tuple(cell for cell in plan.cells if (cell.row, cell.city) in cities)
    return replace(plan, cells=cells, floors={place: plan.floors[place] for place in plan.floors if place in cities})


@dataclass
class _Work:
    """One thing to compute: the cells that want it, of which the first speaks for it."""

    kept: StoredRun
    kind: str
    recipe: Recipe
    row: str
    city: str
    seed: int | None

    @property
    def done(self) -> bool:
        return self.kept.folder.is_file() if self.kind == "floors" else self.kept.done

    def __str__(self) -> str:
        return f"{self.row} · {self.city} · {'floors' if self.seed is None else f'seed {self.seed}'}"


class _Bench:
    """The runs of a plan in a folder."""

    def __init__(self, plan: Plan, out: Path, cities: Mapping[tuple[str, str], City], progress: Progress) -> None:
        self.plan, self.out, self.cities, self.progress = plan, out, cities, progress
        store = Store(out)
        self.runs = self._runs(store)
        self.floors = {place: self._floors(store, place, recipe) for place, recipe in plan.floors.items()}
        self.elsewhere, self.before = self._failed_before()
        self._say_left_out()
        self.failures: dict[str, Failure] = {}
        self.succeeded: set[str] = set()
        self._read: dict[str, pd.DataFrame] = {}

    def run(self, chosen: Sequence[SuiteRun], at_once: int, lock: IO[str]) -> None:
        """Do what the chosen cells, and their floors, lack."""
        todo = self._todo(chosen)
        wanted = {self.runs[cell].kept.key for cell in chosen}
        self.progress.say(f"{len(todo)} to do of {len(wanted)} runs and {len(self.floors)} floors in {self.out}")
        for work_ in todo.values():
            if work_.kind == "run":
                before = self.before.get(work_.kept.key)
                work_.kept.clear_unless_resumable(work_.recipe, before is not None and not before.resumable)
            work_.kept.log.parent.mkdir(parents=True, exist_ok=True)
        jobs = {Job(w.kind, w.recipe.to_yaml(), w.kept.folder, w.kept.log): w for w in todo.values()}
        clock, due = _Clock(len(jobs), at_once), time.monotonic() + WRITE_EVERY
        for outcome in work(list(jobs), at_once, [lock]):
            self._ended(jobs[outcome.job], outcome, clock)
            began = time.monotonic()
            if began > due:
                self.write()
                ended = time.monotonic()
                due = ended + max(WRITE_EVERY, (ended - began) / WRITE_SHARE)

    def write(self) -> Bench:
        """Results, failures and tables of what is finished."""
        found = pd.concat(list(self._results()) or [results([], run_seed=None)], ignore_index=True)
        with atomic_path(self.out / "results.parquet") as temporary:
            found.to_parquet(temporary, index=False)
        failed = {key: failure for key, failure in (self.before | self.failures).items() if key not in self.succeeded}
        told = [*self.elsewhere, *failed.values()]
        write_json(self.out / "failures.json", [asdict(failure) for failure in told])
        grounds = {ground.key: ground for ground in map(self._ground, self.plan.cells)}
        missing: dict[tuple[str, str], int] = {}
        for cell, work_ in self.runs.items():
            if work_.kept.key not in self._read:
                missing[cell.row, work_.city] = missing.get((cell.row, work_.city), 0) + 1
        suite, tables = self.plan.suite, {}
        for name, table in suite.tables.items():
            title = table.title or name
            tables[name] = build_tables(found, grounds, table, title=title, labels=suite.labels, missing=missing)
            write_text(self.out / "tables" / f"{name}.md", markdown(tables[name]) or "No run is finished.\n")
            write_text(self.out / "tables" / f"{name}.tex", latex(tables[name]))
        return Bench(self.out, found, tables, list(self.failures.values()))

    def _say_left_out(self) -> None:
        """Cities with runs of which nothing can be shown, since their sources are not here."""
        here = {cell.city for cell in self.plan.cells}
        for city in self.plan.suite.cities:
            if city not in here and has_runs(self.out, city):
                self.progress.say(f"{city}: its sources are not here, so that its runs stay and are in no table now")

    def _runs(self, store: Store) -> dict[SuiteRun, _Work]:
        runs: dict[SuiteRun, _Work] = {}
        problems: dict[Problem, None] = {}
        for cell in self.plan.cells:
            try:
                runs[cell] = self._run(store, cell)
            except UserError as error:
                problems |= dict.fromkeys(error.problems)
        if problems:
            raise UserError(problems)
        return runs

    def _run(self, store: Store, cell: SuiteRun) -> _Work:
        city = self.cities[cell.row, cell.city]
        name = cell.city or city.name
        return _Work(store.run(cell, name, city), "run", cell.recipe, cell.row, name, cell.seed)

    def _floors(self, store: Store, place: tuple[str, str], recipe: Recipe) -> _Work:
        row, city = place[0], self.cities[place]
        name = place[1] or city.name
        return _Work(store.floors(recipe, row, name, city), "floors", recipe, row, name, None)

    def _ground(self, cell: SuiteRun) -> Ground:
        return Ground.of(cell.recipe, self.cities[cell.row, cell.city].content_hash)

    def _failed_before(self) -> tuple[list[Failure], dict[str, Failure]]:
        """What failed when this suite was run last and was not run since: on cities left out now, and on the others."""
        wanted = {work_.kept.key for work_ in (*self.runs.values(), *self.floors.values()) if not work_.done}
        try:
            found = [Failure(**entry) for entry in read_json(self.out / "failures.json")]
        except (OSError, ValueError, TypeError):
            return [], {}
        here = {cell.city for cell in self.plan.cells}
        elsewhere = [failure for failure in found if failure.city in self.plan.suite.cities.keys() - here]
        return elsewhere, {failure.key: failure for failure in found if failure.key in wanted}

    def _todo(self, chosen: Sequence[SuiteRun]) -> dict[str, _Work]:
        """What is not done, by key: every row's first seed, then floors, then the other seeds."""
        seeds: dict[tuple[str, str], int] = {}
        first: list[_Work] = []
        later: list[_Work] = []
        for cell in chosen:
            place = (cell.row, cell.city)
            (first if seeds.setdefault(place, cell.seed) == cell.seed else later).append(self.runs[cell])
        floors = [work_ for place, work_ in self.floors.items() if place in seeds]
        todo: dict[str, _Work] = {}
        for work_ in [*first, *floors, *later]:
            if work_.kept.key not in todo and not work_.done:
                todo[work_.kept.key] = work_
        return todo

    def _ended(self, work_: _Work, outcome: Outcome, clock: _Clock) -> None:
        place = clock.tick(outcome.seconds)
        if outcome.errors:
            kept = work_.kept
            failure = Failure(
                work_.row, work_.city, work_.seed, kept.key, outcome.resumable, outcome.errors, str(kept.log)
            )
            self.failures[kept.key] = failure
            self.progress.say(f"{place} FAILED {failure}")
        else:
            self.succeeded.add(work_.kept.key)
            self.progress.say(f"{place} {work_}: {outcome.seconds:.0f} s{clock.left()}")

    def _results(self) -> Iterator[pd.DataFrame]:
        for cell, work_ in self.runs.items():
            key = work_.kept.key
            if key not in self._read and work_.done:
                self._read[key] = run_results(Run.open(work_.kept.folder))
            if key in self._read:
                facts = {"row": cell.row, "recipe": cell.source, "city": work_.city, "ground": self._ground(cell).key}
                yield self._read[key].assign(suite=self.plan.name, **facts)
        for (row, city), work_ in self.floors.items():
            if work_.done:
                cell = next(cell for cell in self.plan.cells if (cell.row, cell.city) == (row, city))
                facts = {"row": row, "recipe": cell.source, "city": work_.city, "ground": self._ground(cell).key}
                yield results(pd.read_parquet(work_.kept.folder), run_seed=None, suite=self.plan.name, **facts)


@dataclass
class _Clock:
    """How many of the jobs have ended, and when the rest will have."""

    total: int
    at_once: int
    ended: int = 0
    seconds: list[float] = field(default_factory=list)

    def tick(self, seconds: float) -> str:
        self.ended += 1
        self.seconds.append(seconds)
        return f"[{self.ended}/{self.total}]"

    def left(self) -> str:
        """As long as the mean so far for each of the rest."""
        rest = self.total - self.ended
        if not rest:
            return ""
        seconds = sum(self.seconds) / len(self.seconds) * rest / min(self.at_once, rest)
        return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"
