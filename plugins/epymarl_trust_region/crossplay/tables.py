"""The outcome as tables: for people in Markdown, and for programs every pair in CSV.

Shape letter: C teams.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import StorageError
from ..experiments.report.tables import markdown_rows
from .outcome import Outcome, cycles
from .roles import Roles
from .teams import Team, shown

_HEAD = (
    "first first_seed first_step first_folder second second_seed second_step second_folder episodes "
    "role_0_return_mean role_0_return_width role_1_return_mean role_1_return_width lead lead_width"
).split()


def as_text(outcome: Outcome, teams: Sequence[Team], roles: Roles) -> str:
    """All tables, in Markdown."""
    lines = [_of_teams(outcome, teams), _of_pairs(outcome, 0, roles)]
    if not outcome.zero_sum:
        lines.append(_of_pairs(outcome, 1, roles))
    if len({team.name for team in teams}) > 1:
        lines.append(_of_algorithms(outcome, teams))
    return "\n\n".join([*lines, _of_triples(outcome)])


def _of_teams(outcome: Outcome, teams: Sequence[Team]) -> str:
    exact = all(team.gains is not None for team in teams)
    head = ["", "algorithm", "seed", "steps", "return in role 0", "in role 1", "lead", "beats", "loses to"]
    rows = []
    for i, team in enumerate(teams):
        others = [j for j in range(len(teams)) if j != i]
        cells = [
            outcome.means[i, others, 0].mean(), outcome.means[others, i, 1].mean(), outcome.leads[i, others].mean(),
        ]  # fmt: skip
        known = ["" if number is None else f"{number:,}" for number in (team.seed, team.step)]
        row = [str(i + 1), team.name, *known, *(f"{cell:.3g}" for cell in cells)]
        row += [str(outcome.beats[i].sum()), str(outcome.beats[:, i].sum())]
        rows.append(row + ([f"{team.gains.sum():.3g}"] if exact and team.gains is not None else []))
    note = "Checkpoints; returns and leads are means over all others."
    return _table(note, head + (["NashConv"] if exact else []), rows)


def _of_pairs(outcome: Outcome, role: int, roles: Roles) -> str:
    numbers = [str(i + 1) for i in range(len(outcome.leads))]
    rows = [
        [number, *(f"{m:.3g} ± {w:.2g}" for m, w in zip(means, widths, strict=True))]
        for number, means, widths in zip(numbers, outcome.means[..., role], outcome.widths[..., role], strict=True)
    ]
    agents = "agent" + ("s " if len(roles[role]) > 1 else " ") + ", ".join(map(str, roles[role]))
    note = f"Mean return of role {role} ({agents}) with its 95% interval; rows play role 0, columns role 1."
    return _table(note, ["", *numbers], rows)


def _of_algorithms(outcome: Outcome, teams: Sequence[Team]) -> str:
    """Means over pairs of different checkpoints."""
    names = list(dict.fromkeys(team.name for team in teams))
    members = {name: [i for i, team in enumerate(teams) if team.name == name] for name in names}
    rows = []
    for first in names:
        row = [first]
        for second in names:
            pairs = [(i, j) for i in members[first] for j in members[second] if i != j]
            leads = [outcome.leads[pair] for pair in pairs]
            won, lost = (sum(int(outcome.beats[a, b]) for a, b in way) for way in (pairs, [p[::-1] for p in pairs]))
            row.append(f"{np.mean(leads):+.3g} ({won} won, {lost} lost of {len(pairs)})" if pairs else "")
        rows.append(row)
    return _table("Lead of the row's algorithm over the column's, mean over pairs of checkpoints.", ["", *names], rows)


def _of_triples(outcome: Outcome) -> str:
    count = len(outcome.leads)
    triples = count * (count - 1) * (count - 2) // 6
    by_means, certain = cycles(outcome.leads > 0), cycles(outcome.beats)
    text = f"Non-transitive triples: {len(certain)} of {triples}; by means alone, without intervals, {len(by_means)}."
    some = "; ".join("{} beats {} beats {}".format(*(i + 1 for i in triple)) for triple in certain[:3])
    return text + (f" Such as {some}." if some else "")


def _table(note: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return f"{note}\n\n" + "\n".join(markdown_rows(head, rows))


def write_csv(file: Path, outcome: Outcome, teams: Sequence[Team], episodes: int) -> None:
    """Every ordered pair in a row, numbers in full.

    Raises:
        StorageError: it cannot be written.
    """
    who = [[team.name, team.seed, team.step, shown(team.folder)] for team in teams]
    rows = []
    for i, j in np.ndindex(*outcome.leads.shape):
        each = zip(outcome.means[i, j], outcome.widths[i, j], strict=True)
        numbers = [number for pair in each for number in pair] + [outcome.leads[i, j], outcome.lead_widths[i, j]]
        rows.append([*who[i], *who[j], episodes, *(f"{number:.10g}" for number in numbers)])
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerows([_HEAD, *rows])
    except OSError as error:
        raise StorageError.of(file, error, "--out") from error
