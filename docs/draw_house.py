"""The house in one picture: which part of the package imports which, read from the source.

python docs/draw_house.py            # writes the picture into docs/architecture.md
python docs/draw_house.py --check    # says whether the page has it already; exit code 1 if not
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "epymarl_trust_region"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- drawn by docs/draw_house.py -->", "<!-- end of the picture -->"
# In the picture's corner, not in its lines: everything may use them.
FREE = {"errors", "interfaces", "__init__", "__main__"}


def part_of(module: list[str]) -> str:
    """The part of the package that a module below it belongs to: a folder or a file directly in it."""
    return module[0] if module else "__init__"


def imported(file: Path, folder: Path) -> Iterator[str]:
    """The parts that a file imports, also inside functions, with repetitions."""
    here = [PACKAGE, *file.relative_to(folder).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            names = [[*base, alias.name] for alias in node.names]
        elif file.name == "cli.py" and isinstance(node, ast.Constant) and str(node.value).startswith(f"{PACKAGE}."):
            names = [str(node.value).split(".")]  # its commands, imported when they are typed
        else:
            continue
        yield from (part_of(name[1:]) for name in names if name[0] == PACKAGE)


def arrows(folder: Path) -> dict[str, set[str]]:
    """Part -> the other parts that it imports, of those that are not free to all."""
    found: dict[str, set[str]] = {}
    for file in sorted(folder.rglob("*.py")):
        part = part_of([*file.relative_to(folder).with_suffix("").parts])
        if part not in FREE:
            names = {
                name for name in imported(file, folder) if (folder / name).is_dir() or (folder / f"{name}.py").exists()
            }
            found.setdefault(part, set()).update(names - {part} - FREE)
    return found


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Everything that `start` imports, directly or not."""
    seen: set[str] = set()
    waiting = list(graph.get(start, ()))
    while waiting:
        if (part := waiting.pop()) not in seen:
            seen.add(part)
            waiting += graph.get(part, ())
    return seen


def without_detours(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same without each arrow that a longer way makes needless; the parts must import each other one way only.

    Raises:
        ValueError: two parts import each other, maybe by way of others.
    """
    for part in graph:
        if part in reachable(graph, part):
            raise ValueError(f"{part} imports itself, by way of others")
    return {
        part: {other for other in others if not any(other in reachable(graph, third) for third in others - {other})}
        for part, others in graph.items()
    }


def picture(folder: Path) -> str:
    """The picture as Mermaid text."""
    graph = without_detours(arrows(folder))
    shape = {part: f'{part}["{part}/"]' if (folder / part).is_dir() else f'{part}(["{part}.py"])' for part in graph}
    lines = [f"    {part} --> {other}" for part in sorted(graph) for other in sorted(graph[part])]
    return "\n".join(["```mermaid", "flowchart TD", *(f"    {shape[part]}" for part in sorted(graph)), *lines, "```"])


def page_with(text: str, drawn: str) -> str:
    """The page with the picture in its place."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{drawn}\n{END}{after}"


def main(argv: list[str]) -> int:
    """The command line."""
    text = PAGE.read_text(encoding="utf-8")
    new = page_with(text, picture(ROOT / "plugins" / PACKAGE))
    if argv == ["--check"]:
        if new != text:
            print("docs/architecture.md has another picture; draw it again: python docs/draw_house.py", file=sys.stderr)
        return int(new != text)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
