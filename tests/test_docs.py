"""What pages say: files are there, commands can be typed, and the site builds and leads nowhere wrong."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import draw_curves
import draw_results
import pandas as pd
import pytest
import site_hooks
import write_tables
import yaml
from epymarl_trust_region import cli
from epymarl_trust_region.main import make_parser, with_the_word
from epymarl_trust_region.suite import algorithms
from extensions import HAA2C
from support import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "results/**/*.md", "patches/*.md")
    for path in ROOT.glob(pattern)
)
NAMED = re.compile(
    r"(?<![\w/.-])((?:tests|plugins|configs|docs|patches|results|examples)/[\w./*-]*\w\.(?:py|md|yaml|patch|csv|png|ipynb))"
)
LINKED = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
#: What the tutorial's commands make; no page of the repository has it.
MADE = ("results/sweeps/", "results/first/")
#: Of one shape, in this order; other sections may stand between.
SHAPE = [
    "When to use it",
    "Equation",
    "Keys",
    "What is logged",
    "Differences from the paper",
    "Tests that hold it",
    "Results",
    "A trained team",
]
ALGORITHMS = ("happo", "hatrpo", "jr_ppo", "inpg", "matrl", "log_linear_ppo")
#: EPyMARL's own, as far as pages name them.
OF_EPYMARL = {"qmix", "mappo", "mappo_ns", "ippo_ns", "vdn"}
ENVIRONMENTS = {"gymma", "smax", "mamujoco", "pong", "smaclite", "sc2"}


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page):
    text, folder = text_of(page), (ROOT / page).parent
    named = {name for name in NAMED.findall(text) if not name.startswith(MADE) and "*" not in name}
    missing = {name for name in named if not (ROOT / name).exists()}
    missing |= {link for link in LINKED.findall(text) if not (folder / link).exists()}
    assert missing == set()


def commands(page: str) -> list[list[str]]:
    """`epymarl-tr ...` in the code of a page; after `$` stands what is shown together with its answer."""
    lines = re.findall(r"^(?: {4,}|\t)?(epymarl-tr (?:.*\\\n)*.*)", text_of(page), re.M)
    return [shlex.split(line.replace("\\\n", " "), comments=True)[1:] for line in lines]


@pytest.fixture(scope="module")
def flags_of():
    """The flags in a command's own help."""
    known: dict[str, set[str]] = {}

    def flags(command: str, capsys) -> set[str]:
        if command not in known:
            capsys.readouterr()
            try:
                cli.main([*command.split(), "--help"])
            except SystemExit:
                pass
            known[command] = set(re.findall(r"--[a-z][\w-]*", "".join(capsys.readouterr())))
        return known[command]

    return flags


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_every_command_of_a_page_can_be_typed(page, capsys, flags_of):
    for words in commands(page):
        if "..." in words or words[0].startswith("COMMAND"):
            continue
        assert words[0] in {*cli._COMMANDS}, words
        if words[0] == "run":
            check_run(words[1:])
        elif words[0] not in ("suite", "doctor"):
            given = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert given <= flags_of(" ".join(words[: 2 if words[0] == "study" else 1]), capsys) | {"--debug"}, words


def check_run(words: list[str]) -> None:
    options, rest = make_parser().parse_known_args(words)
    own = {**algorithms.algorithm_files(), "haa2c": HAA2C / "haa2c/algs/haa2c.yaml"}  # the example's
    if options.help is not None:
        assert options.help == "" or options.help in {*own, *OF_EPYMARL, *ENVIRONMENTS}
        return
    own |= {"mine.yaml": own["happo"], "configs/baselines/qtran.yaml": ROOT / "configs/baselines/qtran.yaml"}
    assert options.config in {*own, *OF_EPYMARL}, words
    assert options.env_config in ENVIRONMENTS, words
    rest = with_the_word(rest)
    flags, settings = rest[: rest.index("with")], rest[rest.index("with") + 1 :]
    assert not flags, words
    files = [ROOT / "configs/lite/default.yaml", ROOT / "configs/run.yaml", *filter(None, [own.get(options.config)])]
    known = {"env_args", "seed"}.union(*(yaml.safe_load(file.read_text()) for file in files))
    for setting in (word for word in settings if word != "mine.yaml"):
        key, sign, value = setting.partition("=")
        assert sign and value, words
        assert key.partition(".")[0] in known or options.config in OF_EPYMARL, key


def test_the_check_sees_a_key_that_there_is_not():
    with pytest.raises(AssertionError, match="epss_clip"):
        check_run(["--config=happo", "--env-config=gymma", "with", "epss_clip=0.2"])
    with pytest.raises(AssertionError, match="hapo"):
        check_run(["--config=hapo", "--env-config=gymma", "with", "eps_clip=0.2"])


@pytest.mark.parametrize("page", PAGES)
def test_every_extra_that_a_page_installs_is_one(page):
    extras = set(re.findall(r'^ {8}"(\w+)": \[', (ROOT / "setup.py").read_text(), re.M))
    named = re.findall(r"(?:'\.|epymarl-trust-region)\[([\w,]+)\]'", text_of(page))
    assert {one for names in named for one in names.split(",")} <= extras


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_page_of_an_algorithm_has_the_shape_of_all(name):
    found = re.findall(r"^## (.*)$", text_of(f"docs/{name}.md"), re.M)
    assert [title for title in found if title in SHAPE] == SHAPE
    for title, body in zip(found, re.split(r"^## .*$", text_of(f"docs/{name}.md"), flags=re.M)[1:], strict=True):
        assert title not in ("When to use it", "Equation") or len(body.split()) > 20, title
    assert any(words[0] in ("sweep", "study") for words in commands(f"docs/{name}.md"))  # of its results
    assert len(re.findall(r"^!\[.*\]\(pictures/.*\.gif\)$", text_of(f"docs/{name}.md"), re.M)) == 1


def test_every_algorithm_is_on_a_page_with_its_keys():
    text = " ".join(text_of(f"docs/{name}.md") for name in ALGORITHMS)
    own = [file for file in (ROOT / "configs/algs").glob("*.yaml") if "_paper" not in file.stem]
    assert {file.stem for file in own if f"`{file.stem}`" not in text and f"--config={file.stem} " not in text} == set()
    for name in re.findall(r"<!-- keys: (\w+) -->", text):
        table = site_hooks.table_of_keys(name)
        for key in yaml.safe_load((ROOT / f"configs/algs/{name}.yaml").read_text()):
            assert f"| `{key}` |" in table


def navigation() -> set[str]:
    """The pages that mkdocs.yml lists."""

    def leaves(entry) -> set[str]:
        if isinstance(entry, str):
            return {entry}
        parts = entry.values() if isinstance(entry, dict) else entry
        return set().union(*map(leaves, parts))

    text = re.sub(r"!!python/name:\S+", "null", (ROOT / "mkdocs.yml").read_text())
    return leaves(yaml.safe_load(text)["nav"])


def test_the_site_lists_every_page():
    docs = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    results = {path.relative_to(ROOT).as_posix() for path in (ROOT / "results").glob("*/README.md")}
    assert docs | results <= navigation()
    assert all((ROOT / "docs" / page).exists() or (ROOT / page).exists() for page in navigation())


def test_links_that_lead_out_of_docs_lead_to_files_of_the_site():
    page = ROOT / "docs/happo.md"
    text = (
        "[a](../configs/algs/happo.yaml) [b](jr_ppo.md#keys) [c](../examples/haa2c) [d](https://a.b) [e](../README.md)"
    )
    assert site_hooks.relinked(text, page) == (
        "[a](configs/algs/happo.yaml) [b](jr_ppo.md#keys) c [d](https://a.b) [e](index.md)"
    )
    text = "[f](../../docs/happo.md) [g](simple-spread.png)"
    study = ROOT / "results/happo-first/README.md"
    assert site_hooks.relinked(text, study) == "[f](../../happo.md) [g](simple-spread.png)"
    found = {path.relative_to(ROOT).as_posix() for path in site_hooks.linked([page])}
    assert {
        "configs/algs/happo.yaml",
        "results/happo-first/README.md",
        "results/happo-first/simple-spread.png",
    } <= found


def test_a_bar_in_code_is_escaped_in_tables_of_github_alone():
    text = "| `a\\|b` | \\|F\\| |\n\n`c\\|d`"
    assert site_hooks.bars(text) == "| `a|b` | \\|F\\| |\n\n`c\\|d`"


class Links(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        given = dict(attrs)
        self.names |= {given[key] for key in ("id", "name") if given.get(key)}
        self.links += [given[key] for key in ("href", "src") if given.get(key)]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    for package in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(package) is None:
            pytest.skip("no mkdocs: pip install -c constraints.txt -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    paths = os.pathsep.join([str(ROOT / "plugins"), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)], cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": paths}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def test_the_site_builds_and_its_links_lead_somewhere(built):
    pages = {file: Links(file.read_text(encoding="utf-8")) for file in built.rglob("*.html") if file.name != "404.html"}
    assert len(pages) >= len(navigation())
    wrong = []
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith("data:"):
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            names = pages[target].names if target in pages else set()
            if not target.exists() or (parts.fragment and target in pages and unquote(parts.fragment) not in names):
                wrong.append(f"{file.relative_to(built)}: {link}")
    assert wrong == []


def test_the_site_has_what_is_made_for_it(built):
    assert "ratios are clipped to 1 +- eps_clip" in (built / "happo.html").read_text()
    assert "HAPPOLearner" in (built / "api/learners.html").read_text()
    assert (built / "configs/algs/happo.yaml").read_text() == (ROOT / "configs/algs/happo.yaml").read_text()
    assert (built / "pictures/spread-happo.gif").exists() and not (built / "site_hooks.py").exists()


def test_the_picture_of_the_readme_is_of_published_numbers():
    """The means at the ends of its curves are those of the studies' own tables."""
    for panel in draw_curves.PANELS:
        for (study, experiment, _), curves in zip(panel.curves, draw_curves.curves_of(panel), strict=True):
            text = (ROOT / "results" / study / "summary.csv").read_text()
            (row,) = re.findall(rf"^.*,{re.escape(experiment)},{panel.until},(.*)$", text, re.M)
            assert float(row.split(",")[0]) == pytest.approx(curves.table.loc[panel.until].mean(), abs=1e-3)
            assert curves.end == panel.until and curves.seeds >= 5
    assert draw_curves.FILE.stat().st_size > 50_000


def test_the_tables_of_the_comparison_are_made_from_what_is_published():
    """Nothing between their marks was typed; and what stands there is what the study's files say."""
    for file in write_tables.PAGES:
        text = file.read_text(encoding="utf-8")
        assert "<!-- table of results/" in text and write_tables.filled(text) == text, file
    final = (ROOT / "results/benchmark/final.csv").read_text()
    (row,) = re.findall(r"^reference,reference-qmix,qmix,5,100000,(.*)$", final, re.M)
    mean, low, high = (float(x) for x in row.split(",")[:3])
    few, all_of_them = write_tables.comparison(False), write_tables.comparison(True)
    assert f"{mean:.1f}" in few and f"[{low:.1f}, {high:.1f}]" in all_of_them
    assert "a limit is an end" in all_of_them and "a limit is an end" not in few


def test_every_claim_has_a_verdict_and_a_place():
    """docs/claims.md: what is there shows the verdict; what has not been run names what would run it."""
    text = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    rows = [
        line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ") and "| where |" not in line
    ]
    assert len(rows) > 70 and all(len(row) == 5 for row in rows)
    verdicts = {"holds", "holds with correction", "refuted", "not reproduced", "not yet run", "left out"}
    for where, _, _, verdict, place in rows:
        assert verdict in verdicts, (where, verdict)
        named = [ROOT / name for name in NAMED.findall(place)]
        named += [ROOT / "docs" / name for name in LINKED.findall(place)]
        assert named and all(path.exists() for path in named), (where, place)


@pytest.mark.parametrize("folder", draw_results.CURVES)
def test_published_pictures_are_drawn_from_the_published_numbers(folder):
    """Each mean over seeds is that of `summary.csv`."""
    study = draw_results.study_of(folder, draw_results.CURVES[folder])
    published = pd.read_csv(ROOT / "results" / folder / "summary.csv").set_index(["task", "experiment", "step"])
    compared = 0
    for task, experiments in study.tasks.items():
        for curves in experiments:
            for step, mean in curves.table.mean(axis=1).items():
                row = published.loc[(task, curves.experiment, step)]
                if row["count"] == curves.seeds:  # else it lies between a seed's neighbours
                    assert mean == pytest.approx(row["mean"], abs=2e-4), (task, curves.experiment, step)
                    compared += 1
    assert compared > 10


def test_published_distances_are_drawn_from_the_published_updates():
    """Each experiment's mean joint total variation is that of `distances.csv`; every picture has its file."""
    folder = "trust-region/distances"
    rows = draw_results.study_of(folder, "distances", "updates.csv").rows
    published = pd.read_csv(ROOT / "results" / folder / "distances.csv").set_index(["task", "experiment"])
    means = rows.groupby(["task", "experiment"])["joint_tv"].mean()
    assert len(means) == len(published) and (means - published["joint_tv"]).abs().max() < 1e-3
    assert {task for task, _ in means.index} == {
        f.stem.removeprefix("distances-") for f in (ROOT / "results" / folder).glob("*.png")
    }
