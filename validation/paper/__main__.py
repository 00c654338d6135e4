"""Run the paper's claims, and give a verdict on each.

    python -m pip install -e ".[sweep,precision]"
    python -m validation.paper [--size smoke|night|full] [figure ...]

Smoke takes minutes and checks the path: only claims that do not need trained networks are judged.
Night takes about a night on two cores, full is the paper's own size, for a cluster. What is done
is kept in tables, validation/paper/results/SIZE, and a second call goes on from there; pictures
and verdicts are drawn from these tables alone. Exit code 1 if a claim that is judged does not
hold, 75 if a time limit ended the runs."""

import argparse
import sys
from contextlib import ExitStack
from types import ModuleType

from rich.console import Console
from rich.table import Table

from lyapflow.cli.show import OUT_OF_TIME
from lyapflow.cli.sweep import Progress, chosen_executor
from lyapflow.learning.stopping import StopRule, TimeLimit
from lyapflow.runs.signals import EndOnSignal
from validation.paper.figures import TITLES, figure
from validation.paper.sizes import SIZES, Size
from validation.paper.tables import Tables


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m validation.paper",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("figure", nargs="*", choices=[[], *TITLES], help="all by default")
    parser.add_argument("--size", choices=list(SIZES), default="smoke")
    parser.add_argument("--workers", type=int, help="processes; as many as processors by default")
    parser.add_argument("--dask", metavar="ADDRESS", help="scheduler of a Dask cluster")
    parser.add_argument("--time-limit", type=float, metavar="MINUTES", help="for the training runs")
    options = parser.parse_args()
    names = options.figure or list(TITLES)
    figures = {name: figure(name) for name in names}
    size = SIZES[options.size]
    tables = Tables(options.size)
    needed = dict.fromkeys(group for of in figures.values() for group in getattr(of, "GROUPS", ()))
    with ExitStack() as inside:
        stops: list[StopRule] = [inside.enter_context(EndOnSignal())]
        if options.time_limit is not None:
            stops.append(TimeLimit(options.time_limit))
        executor = inside.enter_context(chosen_executor(options.dask, mpi=False))
        display = inside.enter_context(Progress())
        finished = tables.work(
            needed,
            executor=executor,
            workers=options.workers,
            stops=stops,
            progress=display.show,
        )
    for name, of in figures.items():
        if hasattr(of, "compute"):
            tables.compute(name, of.compute)
    complete = {
        name: of for name, of in figures.items() if tables.complete(getattr(of, "GROUPS", ()))
    }
    held = [show(name, of, tables, size, options.size) for name, of in complete.items()]
    for name in figures.keys() - complete.keys():
        print(f"{TITLES[name]}: runs are missing")
    held += [False] * (len(figures) - len(complete))
    return OUT_OF_TIME if not finished else int(not all(held))


def show(name: str, of: ModuleType, tables: Tables, size: Size, size_name: str) -> bool:
    """Draw a figure and print its verdicts; whether all claims that are judged at this size hold."""
    of.draw(tables, size).savefig(tables.folder / f"{name}.png", dpi=100)
    rows = [
        (
            claim.verdict if size_name != "smoke" or claim.small else "not judged",
            claim.text,
            claim.found,
        )
        for claim in of.judge(tables, size)
    ]
    tables.write_verdicts(name, rows)
    table = Table("verdict", "claim", "found", title=TITLES[name], expand=True)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    return all(verdict != "does not hold" for verdict, _, _ in rows)


if __name__ == "__main__":
    sys.exit(main())
