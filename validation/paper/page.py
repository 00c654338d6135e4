"""`python -m validation.paper.page` writes docs/paper.md from the tables of the night: verdicts, numbers, pictures."""

from pathlib import Path

import pandas as pd

from validation.paper.figures import TITLES, figure
from validation.paper.tables import Tables

PAGE = Path(__file__).parent.parent.parent / "docs" / "paper.md"
NOTES = Path(__file__).parent / "notes"  # what is said in words, by the name of a figure


def seconds(name: str, tables: Tables) -> float:
    """Processor time of a figure's training runs."""
    groups = getattr(figure(name), "GROUPS", ())
    return float(sum(tables.runs(group)["seconds"].sum() for group in groups))


def section(name: str, of: pd.DataFrame, tables: Tables) -> str:
    """What the page says of one figure."""
    what = (figure(name).__doc__ or "").split("\n")[0].partition(": ")[2]
    cost = seconds(name, tables)
    took = f"; {cost / 3600:.1f} hours of processor time" if cost else ""
    lines = [
        f"## {TITLES[name]}",
        "",
        f"{what[0].upper()}{what[1:]} (`python -m validation.paper {name} --size night`{took})",
        "",
        "| claim | verdict | found |",
        "|---|---|---|",
        *(f"| {row.claim} | **{row.verdict}** | {row.found} |" for row in of.itertuples()),
        "",
        f"![{TITLES[name]}](../validation/paper/results/night/{name}.png)",
        "",
    ]
    note = NOTES / f"{name}.md"
    if note.exists():
        lines.append(note.read_text())
    return "\n".join(lines)


def page(tables: Tables) -> str:
    """The whole page, of the figures that have verdicts."""
    verdicts = pd.read_csv(tables.folder / "verdicts.csv")
    counts = verdicts["verdict"].value_counts()
    summary = ", ".join(f"{verdict} {count}" for verdict, count in counts.items())
    done = [name for name in TITLES if (verdicts["figure"] == name).any()]
    parts = [(NOTES / "introduction.md").read_text(), f"Claims by verdict: {summary}.\n"]
    parts += [section(name, verdicts[verdicts["figure"] == name], tables) for name in done]
    if missing := [TITLES[name] for name in TITLES if name not in done]:
        parts.append(f"Not run yet: {', '.join(missing)}.\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(Tables("night")))
