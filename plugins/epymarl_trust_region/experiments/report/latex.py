"""The end of training as a table for LaTeX."""

from __future__ import annotations

from .figures import short_steps
from .statistics import interval, pooled_mean
from .study import Study
from .styles import readable_task


def table(study: Study) -> str:
    """Algorithms x tasks for `booktabs`; bold: whose interval reaches the best mean of the task."""
    import pandas as pd

    tasks = list(study.tasks)
    labels = list(dict.fromkeys(curves.label for curves_of in study.tasks.values() for curves in curves_of))
    cells: dict[tuple[str, str], str] = {}
    for task, experiments in study.tasks.items():
        step = study.common_end(task)
        at = {curves.label: curves.at(step) for curves in experiments}
        best = study.best(float(values.mean()) for values in at.values())
        for label, values in at.items():
            ends = interval(pooled_mean, values)
            mean = float(values.mean())
            text = f"{mean:.2f}" + ("" if ends is None else f" [{ends[0]:.2f}, {ends[1]:.2f}]")
            reaches = mean == best or (ends is not None and ends[0] <= best <= ends[1])
            cells[label, task] = f"\\textbf{{{text}}}" if reaches and len(at) > 1 else text
    heads = [f"{readable_task(task)} ({short_steps(study.common_end(task))})" for task in tasks]
    frame = pd.DataFrame([[cells.get((label, task), "--") for task in tasks] for label in labels], labels, heads)
    styled = frame.style.format_index(escape="latex", axis=0).format_index(escape="latex", axis=1)
    return (
        "% needs \\usepackage{booktabs}\n"
        f"% {study.what[0].upper()}{study.what[1:]} at the steps in brackets: mean [95% bootstrap interval] of seeds.\n"
        f"% Bold: the {study.best.__name__}imum of a task's means, and those whose interval reaches it.\n"
        + styled.to_latex(hrules=True, column_format="l" + "r" * len(tasks))
    )
