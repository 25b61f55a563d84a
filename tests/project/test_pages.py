"""The README and docs/: what they print, what they link to, what they list."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import operator
import re
import subprocess
import sys
from pathlib import Path

import pytest

import regkern as rk
import regkern.reference as ref
from regkern import optim

ROOT = Path(__file__).parents[2]
README, FUNCTIONS, ACCURACY = ROOT / "README.md", ROOT / "docs" / "functions.md", ROOT / "docs" / "accuracy.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/*.md"))]
PROGRAM = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)
PROGRAMS = [(page, code, output) for page in PAGES for code, output in PROGRAM.findall(page.read_text())]
PRINTING = [pytest.param(code, output, id=page.stem) for page, code, output in PROGRAMS if output]
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def printed(code: str) -> str:
    if "import regkern.torch" in code and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize(("code", "output"), PRINTING)
def test_a_page_shows_what_its_program_prints(code: str, output: str) -> None:
    assert printed(code) == output


def test_the_reference_prints_what_the_readme_shows() -> None:
    ((code, output),) = [(code, output) for page, code, output in PROGRAMS if page == README]
    assert output
    assert printed(code.replace("import regkern as rk", "import regkern.reference as rk")) == output


def test_programs_of_pages_are_python() -> None:
    for page, code, _ in PROGRAMS:
        ast.parse(code, page.name)


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if not link.startswith(("http://", "https://")):
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_the_readme_leads_to_every_page_and_is_short() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in LINK.findall(prose(README))}
    assert set(PAGES) - {README} <= linked
    assert len(README.read_text().splitlines()) <= 100


def test_the_page_of_functions_lists_all_of_them_and_nothing_else() -> None:
    text = prose(FUNCTIONS)
    spans = set(re.findall(r"[\w.]+", " ".join(re.findall(r"`([^`]+)`", text))))
    optimizers = {f"optim.{name}" for name, thing in vars(optim).items() if hasattr(thing, "_rule")}
    assert "optim.AdamW" in optimizers
    assert {*rk.__all__, *optimizers} - {"__version__"} <= spans
    firsts = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    for name in re.findall(r"`([\w.]+)", " ".join(firsts)):
        operator.attrgetter(name)(rk)


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table behind a heading of the page on accuracy."""
    table = ACCURACY.read_text().split(f"\n## {heading}\n")[1].split("\n|---")[1].split("\n\n")[0]
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.split("\n")[1:]]


# The class is of what NumPy and the caller's function make; what comes is no array of numbers.
WITHOUT_CLASS, WITHOUT_EDGES = (
    {"proximal_gradient", "save", "load"},
    {"proximal_gradient", "save", "load", "stopping_time", "random_bits", "uniform", "normal"},
)


def test_the_page_on_accuracy_has_the_class_of_every_function() -> None:
    found: dict[str, set[str]] = {}
    name = ""
    for first, _, functions in rows("Classes"):
        name = first.strip(" `") or name
        for function in re.findall(r"`(\w+)`", functions):
            found.setdefault(function, set()).add(name)
    numeric = {n for n in rk.__all__ if inspect.isfunction(getattr(rk, n)) and hasattr(ref, n)} - WITHOUT_CLASS
    assert found.keys() == numeric
    for function, classes in found.items():
        stated = set(re.findall(r"Accuracy class\s+``(.+?)``", inspect.getdoc(getattr(rk, function)) or ""))
        assert stated <= classes, function
        assert classes == stated or function == "bias_dropout_add_backward", function


def test_the_page_on_accuracy_has_the_edges_of_every_function() -> None:
    found = {function for first, *_ in rows("Edges") for function in re.findall(r"`(\w+)", first)}
    numeric = {n for n in rk.__all__ if inspect.isfunction(getattr(rk, n)) and hasattr(ref, n)}
    assert found == numeric - WITHOUT_EDGES
