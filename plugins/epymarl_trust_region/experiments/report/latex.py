"""The end of training as a table for LaTeX."""

from __future__ import annotations

from .figures import short_steps
from .statistics import interval, pooled_mean
from .study import Study
from .styles import readable_task


def table(study: Study) -> str:
    """Algorithms x tasks for `booktabs`; bold: whose interval reaches the highest mean of the task."""
    tasks = list(study.tasks)
    labels = list(dict.fromkeys(curves.label for curves_of in study.tasks.values() for curves in curves_of))
    cells: dict[tuple[str, str], str] = {}
    for task, experiments in study.tasks.items():
        step = study.common_end(task)
        at = {curves.label: curves.at(step) for curves in experiments}
        best = max(float(values.mean()) for values in at.values())
        for label, values in at.items():
            ends = interval(pooled_mean, values)
            mean = float(values.mean())
            text = f"{mean:.2f}" + ("" if ends is None else f" [{ends[0]:.2f}, {ends[1]:.2f}]")
            reaches = mean == best or (ends is not None and ends[1] >= best)
            cells[label, task] = f"\\textbf{{{text}}}" if reaches and len(at) > 1 else text
    head = " & ".join(["", *(f"{escaped(readable_task(t))} ({short_steps(study.common_end(t))})" for t in tasks)])
    body = [" & ".join([escaped(label), *(cells.get((label, t), "--") for t in tasks)]) + r" \\" for label in labels]
    return "\n".join([
        "% needs \\usepackage{booktabs}",
        "% Test return at the steps in brackets: mean over seeds [95% bootstrap interval].",
        "% Bold: the highest mean of a task, and those whose interval reaches it.",
        f"\\begin{{tabular}}{{l{'r' * len(tasks)}}}", r"\toprule", f"{head} \\\\", r"\midrule", *body, r"\bottomrule",
        r"\end{tabular}", "",
    ])  # fmt: skip


def escaped(text: str) -> str:
    """For LaTeX."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(letter) or (f"\\{letter}" if letter in "&%$#_{}" else letter) for letter in text)
