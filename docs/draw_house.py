"""The house in one picture: which part of the package imports which, read from the source.

python docs/draw_house.py            # writes the picture into docs/architecture.md
python docs/draw_house.py --check    # says whether the page has it already; exit code 1 if not
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import networkx as nx

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "epymarl_trust_region"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- drawn by docs/draw_house.py -->", "<!-- end of the picture -->"
# In the picture's corner, not in its lines: everything may use them.
FREE = {"command_line", "errors", "interfaces", "__init__", "__main__"}


def imported(tree: ast.AST, file: str) -> Iterator[str]:
    """Absolute dotted names of everything that `file` (path inside the package) imports.

    Also inside functions, by `import_module("...")`, and by the table of commands in cli.py.
    """
    package = [PACKAGE, *Path(file).parts[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from (word.value for word in node.args[:1] if isinstance(word, ast.Constant))
        elif file == "cli.py" and isinstance(node, ast.Constant) and str(node.value).startswith(f"{PACKAGE}."):
            yield str(node.value)


def part_of(file: str) -> str:
    """The part of the package that a file of it belongs to: a folder or a file directly in it."""
    return Path(file).parts[0].removesuffix(".py")


def arrows(folder: Path) -> nx.DiGraph:
    """Part -> the other parts that it imports, of those that are not free to all."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.py"))}
    graph = nx.DiGraph()
    graph.add_nodes_from({part_of(file) for file in files} - FREE)
    for file, path in files.items():
        names = (name.split(".") for name in imported(ast.parse(path.read_text(encoding="utf-8")), file))
        others = {name[1] for name in names if name[0] == PACKAGE and len(name) > 1}
        if part_of(file) not in FREE:
            graph.add_edges_from((part_of(file), other) for other in others & set(graph) - {part_of(file)})
    return graph


def without_detours(graph: nx.DiGraph) -> nx.DiGraph:
    """The same without each arrow that a longer way makes needless.

    Raises:
        ValueError: two parts import each other, maybe by way of others.
    """
    if circles := sorted(min(parts) for parts in nx.strongly_connected_components(graph) if len(parts) > 1):
        raise ValueError(f"{circles[0]} imports itself, by way of others")
    return nx.transitive_reduction(graph)


def picture(folder: Path) -> str:
    """The picture as Mermaid text."""
    graph = without_detours(arrows(folder))
    shape = {part: f'{part}["{part}/"]' if (folder / part).is_dir() else f'{part}(["{part}.py"])' for part in graph}
    lines = [f"    {part} --> {other}" for part, other in sorted(graph.edges)]
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
