"""Runs the missing runs of a suite, and writes results and tables. A run that fails does not stop the others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from urbankit.bench.executors import Executor, ThisMachine
from urbankit.bench.figures import draw_tables
from urbankit.bench.pool import Job, Outcome
from urbankit.bench.store import Store, StoredRun, has_runs
from urbankit.bench.suite import Plan, SuiteRun, load_plan
from urbankit.city.city import City
from urbankit.recipe.recipe import Recipe
from urbankit.runs.data import city_key, prepare_city
from urbankit.runs.folder import Run
from urbankit.runs.records import run_results
from urbankit.tables.comparison import build_tables
from urbankit.tables.latex import latex
from urbankit.tables.markdown import markdown
from urbankit.tables.records import EvaluationSetup, results
from urbankit.tables.table import Table
from urbankit.utils.errors import Problem, Problems, UserError, unwritable
from urbankit.utils.files import atomic_path, read_json, write_json, write_text
from urbankit.utils.ledger import LEDGER, PARTIAL, is_whole, start_ledger
from urbankit.utils.locks import LOCK, LOCKS, file_lock, in_use
from urbankit.utils.progress import Progress
from urbankit.utils.text import list_some

WRITE_EVERY = 30.0
"""The minimum of seconds between two writings of the tables of what is finished."""

WRITE_SHARE = 0.02
"""The maximum share of the time that writing them may take."""

LOCK_TIMEOUT = 15.0
"""Seconds to wait for a folder that another bench uses: a bench that was killed may still be ending."""


@dataclass(frozen=True)
class Failure:
    """A run, or the floors of a row, that failed.

    Attributes:
        row: The row.
        city: The city.
        seed: The seed of pre-training; None for floors.
        key: The key in the store.
        resumable: Whether it is resumed by the next bench, for example after a full disk; else it starts again.
        errors: The messages.
        log: The file with what it printed.
    """

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
    """The state of a suite.

    Attributes:
        out: The folder of the bench.
        results: The records in `results.parquet`.
        tables: The tables, by the names in the suite.
        failures: The runs that failed this time.
    """

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
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Bench:
    """Run what is missing of a suite, and write results and tables.

    Args:
        suite: A suite file, the name of a shipped suite, a mapping with the keys of a suite, or a plan.
        out: The folder of the bench; by default `runs/SUITE`.
        sets: Changes of the suite, such as `"seeds=[0]"`.
        data: A folder with one folder of sources a city.
        jobs: How many runs at a time; they share the processors.
        rows: Run only these rows; tables show all.
        cities: Run only on these cities; tables show all.
        executor: Where runs are computed, such as a `DaskCluster`; by default `jobs` processes of this machine.
        progress: Where progress is shown; by default the bench shows its own.

    Returns:
        Results and tables of everything that is finished. A run that fails is among its `failures`.

    Raises:
        UserError: If the suite, a recipe or a city is wrong; nothing is run then.
    """
    plan = suite if isinstance(suite, Plan) else load_plan(suite, sets, None if data is None else Path(data), cities)
    folder = Path(out) if out is not None else Path("runs") / plan.name
    plan.select(rows)  # raises for unknown rows
    _check_out(folder)
    with nullcontext(progress) if progress is not None else Progress() as reporter, _locked(folder) as lock:
        start_ledger(folder)
        prepared = _prepare_cities(plan, folder, reporter)
        plan = _restrict(plan, prepared)
        bench = _Bench(plan, folder, prepared, reporter)
        try:
            bench.run(plan.select(rows), executor or ThisMachine(jobs), lock)
        finally:
            finished = bench.write()
        _draw(finished, reporter)
    return finished


def _check_out(folder: Path) -> None:
    """Raise `UserError` if the folder holds something and no bench wrote it."""
    if not folder.is_dir() or (folder / LEDGER).exists():
        return
    if all((folder / name).exists() for name in ("results.parquet", "failures.json")):  # of an earlier version
        return
    names = sorted(path.name for path in folder.iterdir())
    foreign = [name for name in names if name not in LOCKS and not name.startswith(PARTIAL)]
    if foreign:
        message = f"exists and is no folder of a bench (it holds {list_some(foreign, 3)}); choose another --out"
        raise UserError(Problem(message, folder))


def _draw(finished: Bench, progress: Progress) -> None:
    """Draw the tables as figures, with captions in `figures/captions.json`."""
    folder = finished.out / "figures"
    try:
        drawn = draw_tables(finished.tables, folder)
        captions = [{"file": drawing.png.name, "caption": drawing.caption} for drawing in drawn]
        write_json(folder / "captions.json", {"drawn": captions, "left_out": []})
    except Exception as error:  # numbers and tables are written: a figure must not change the exit status
        progress.say(f"figures were not drawn: {type(error).__name__}: {error}")


@contextmanager
def _locked(folder: Path) -> Iterator[int | None]:
    """Lock the folder of the bench for this process and its workers."""
    deadline = time.monotonic() + LOCK_TIMEOUT
    with ExitStack() as stack:
        while True:
            try:
                lock = stack.enter_context(file_lock(folder / LOCK, wait=False))
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise in_use(folder, "bench") from None
                time.sleep(0.2)
            except OSError as error:
                raise unwritable(folder, "the bench's folder", error) from None
        yield lock


def _prepare_cities(plan: Plan, out: Path, progress: Progress) -> dict[tuple[str, str], City]:
    """The city of every row and city of the suite; each city is prepared once.

    Cities that are not run on are only needed for runs that tables show, and may be missing.
    """
    problems, cities = Problems(), {}
    names = {run.city for run in plan.runs if plan.runs_on(run.city) or has_runs(out, run.city)}
    runs = [run for run in plan.runs if run.city in names]
    by_city = {city_key(run.recipe): run for run in sorted(runs, key=lambda run: plan.runs_on(run.city))}
    for city, run in by_city.items():
        try:
            cities[city] = prepare_city(run.recipe, progress)
        except UserError as error:
            if plan.runs_on(run.city):
                problems.extend(error.problems)
    problems.raise_if_any()
    available = {(run.row, run.city): cities.get(city_key(run.recipe)) for run in runs}
    return {key: city for key, city in available.items() if city is not None}


def _restrict(plan: Plan, cities: Mapping[tuple[str, str], City]) -> Plan:
    """The plan of the rows and cities that are available."""
    runs = tuple(run for run in plan.runs if (run.row, run.city) in cities)
    return replace(plan, runs=runs, floors={key: recipe for key, recipe in plan.floors.items() if key in cities})


@dataclass
class _Computation:
    """A run, or the floors of a row, and where it is stored. Runs with the same content share one."""

    stored: StoredRun
    kind: str
    recipe: Recipe
    row: str
    city: str
    seed: int | None

    @property
    def done(self) -> bool:
        """Whether it is finished."""
        return is_whole(self.stored.folder) if self.kind == "floors" else self.stored.done

    def __str__(self) -> str:
        return f"{self.row} · {self.city} · {'floors' if self.seed is None else f'seed {self.seed}'}"


class _Bench:
    """The runs of a plan in a folder."""

    def __init__(self, plan: Plan, out: Path, cities: Mapping[tuple[str, str], City], progress: Progress) -> None:
        self.plan, self.out, self.cities, self.progress = plan, out, cities, progress
        store = Store(out)
        self.runs = self._runs(store)
        self.floors = {key: self._floors(store, key, recipe) for key, recipe in plan.floors.items()}
        self.other_failures, self.earlier_failures = self._read_failures()
        self._note_missing_cities()
        self.failures: dict[str, Failure] = {}
        self.succeeded: set[str] = set()
        self._finished: dict[str, pd.DataFrame] = {}

    def run(self, selected: Sequence[SuiteRun], executor: Executor, lock: int | None) -> None:
        """Compute the selected runs, and their floors, that are not finished."""
        runs = {self.runs[run].stored.key: self.runs[run].stored for run in selected}
        for stored in runs.values():
            stored.tidy()
        todo = self._todo(selected)
        self.progress.say(f"{len(todo)} to do of {len(runs)} runs and {len(self.floors)} floors in {self.out}")
        for one in todo.values():
            if one.kind == "run":
                earlier = self.earlier_failures.get(one.stored.key)
                one.stored.clear_unless_resumable(one.recipe, earlier is not None and not earlier.resumable)
            one.stored.log.parent.mkdir(parents=True, exist_ok=True)
        jobs = {Job(one.kind, one.recipe.to_yaml(), one.stored.folder, one.stored.log): one for one in todo.values()}
        clock, due = _Clock(len(jobs), executor.at_once), time.monotonic() + WRITE_EVERY
        for outcome in executor.run(list(jobs), lock):
            self._ended(jobs[outcome.job], outcome, clock)
            started = time.monotonic()
            if started > due:
                self.write()
                ended = time.monotonic()
                due = ended + max(WRITE_EVERY, (ended - started) / WRITE_SHARE)

    def write(self) -> Bench:
        """Write results, failures and tables of everything that is finished."""
        records = pd.concat(list(self._results()) or [results([], run_seed=None)], ignore_index=True)
        with atomic_path(self.out / "results.parquet") as temporary:
            records.to_parquet(temporary, index=False)
        failed = {
            key: failure
            for key, failure in (self.earlier_failures | self.failures).items()
            if key not in self.succeeded
        }
        failures = [*self.other_failures, *failed.values()]
        write_json(self.out / "failures.json", [asdict(failure) for failure in failures])
        grounds = {ground.key: ground for ground in map(self._ground, self.plan.runs)}
        missing: dict[tuple[str, str], int] = {}
        for run, one in self.runs.items():
            if one.stored.key not in self._finished:
                missing[run.row, one.city] = missing.get((run.row, one.city), 0) + 1
        suite, tables = self.plan.suite, {}
        for name, table in suite.tables.items():
            title = table.title or name
            tables[name] = build_tables(records, grounds, table, title=title, labels=suite.labels, missing=missing)
            write_text(self.out / "tables" / f"{name}.md", markdown(tables[name]) or "No run is finished.\n")
            write_text(self.out / "tables" / f"{name}.tex", latex(tables[name]))
        return Bench(self.out, records, tables, list(self.failures.values()))

    def _note_missing_cities(self) -> None:
        """Say which cities have runs that no table can show, because their sources are missing."""
        available = {run.city for run in self.plan.runs}
        for city in self.plan.suite.cities:
            if city not in available and has_runs(self.out, city):
                self.progress.say(f"{city}: its sources are missing. Its runs are kept, but no table shows them now.")

    def _runs(self, store: Store) -> dict[SuiteRun, _Computation]:
        runs: dict[SuiteRun, _Computation] = {}
        problems: dict[Problem, None] = {}
        for run in self.plan.runs:
            city = self.cities[run.row, run.city]
            name = run.city or city.name
            try:
                runs[run] = _Computation(store.run(run, name, city), "run", run.recipe, run.row, name, run.seed)
            except UserError as error:
                problems |= dict.fromkeys(error.problems)
        if problems:
            raise UserError(problems)
        return runs

    def _floors(self, store: Store, key: tuple[str, str], recipe: Recipe) -> _Computation:
        row, city = key[0], self.cities[key]
        name = key[1] or city.name
        return _Computation(store.floors(recipe, row, name, city), "floors", recipe, row, name, None)

    def _ground(self, run: SuiteRun) -> EvaluationSetup:
        return EvaluationSetup.of(run.recipe, self.cities[run.row, run.city].content_hash)

    def _read_failures(self) -> tuple[list[Failure], dict[str, Failure]]:
        """Failures of earlier benches that are not finished since: on cities left out now, and by key on the others."""
        try:
            failures = [Failure(**entry) for entry in read_json(self.out / "failures.json")]
        except (OSError, ValueError, TypeError):
            return [], {}
        unfinished = {one.stored.key for one in (*self.runs.values(), *self.floors.values()) if not one.done}
        left_out = self.plan.suite.cities.keys() - {run.city for run in self.plan.runs}
        others = [failure for failure in failures if failure.city in left_out]
        return others, {failure.key: failure for failure in failures if failure.key in unfinished}

    def _todo(self, selected: Sequence[SuiteRun]) -> dict[str, _Computation]:
        """What is not finished, by key: every row's first seed, then floors, then the other seeds."""
        first_seeds: dict[tuple[str, str], int] = {}
        first: list[_Computation] = []
        later: list[_Computation] = []
        for run in selected:
            is_first = first_seeds.setdefault((run.row, run.city), run.seed) == run.seed
            (first if is_first else later).append(self.runs[run])
        floors = [one for key, one in self.floors.items() if key in first_seeds]
        todo: dict[str, _Computation] = {}
        for one in [*first, *floors, *later]:
            if one.stored.key not in todo and not one.done:
                todo[one.stored.key] = one
        return todo

    def _ended(self, one: _Computation, outcome: Outcome, clock: _Clock) -> None:
        count, stored = clock.tick(outcome.seconds), one.stored
        if not outcome.errors and not one.done:  # a machine wrote it into a folder of its own
            outcome = replace(outcome, errors=[f"ended, but {stored.folder} is not here; share --out among machines"])
        if outcome.errors:
            failure = Failure(
                one.row, one.city, one.seed, stored.key, outcome.resumable, outcome.errors, str(stored.log)
            )
            self.failures[stored.key] = failure
            self.progress.say(f"{count} FAILED {failure}")
        else:
            self.succeeded.add(stored.key)
            self.progress.say(f"{count} {one}: {outcome.seconds:.0f} s{clock.left()}")

    def _results(self) -> Iterator[pd.DataFrame]:
        for run, one in self.runs.items():
            key = one.stored.key
            if key not in self._finished and one.done:
                self._finished[key] = run_results(Run.open(one.stored.folder))
            if key in self._finished:
                yield self._finished[key].assign(**self._facts(run, one))
        for (row, city), one in self.floors.items():
            if one.done:
                run = next(run for run in self.plan.runs if (run.row, run.city) == (row, city))
                yield results(pd.read_parquet(one.stored.folder), run_seed=None, **self._facts(run, one))

    def _facts(self, run: SuiteRun, one: _Computation) -> dict[str, str]:
        ground = self._ground(run).key
        return {"suite": self.plan.name, "row": run.row, "recipe": run.source, "city": one.city, "ground": ground}


@dataclass
class _Clock:
    """Counts the jobs that have ended, and estimates the time of the rest."""

    total: int
    at_once: int
    ended: int = 0
    seconds: list[float] = field(default_factory=list)

    def tick(self, seconds: float) -> str:
        """Count a job: `[3/10]`."""
        self.ended += 1
        self.seconds.append(seconds)
        return f"[{self.ended}/{self.total}]"

    def left(self) -> str:
        """The time left, from the mean time of the jobs so far."""
        rest = self.total - self.ended
        if not rest:
            return ""
        seconds = sum(self.seconds) / len(self.seconds) * rest / min(self.at_once, rest)
        return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"
