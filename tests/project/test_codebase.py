"""House rules: the lists that must agree, the documentation that must run, the tools that must be quiet."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import inspect
import io
import itertools
import json
import operator
import pkgutil
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import cases
import regkern as rk
import regkern.reference as ref
from regkern import _core
from regkern.augment._program import Op
from regkern.augment._transform import TYPES
from regkern.bench import kernels as bench
from regkern.bench.peers import REGKERN
from regkern.bench.peers.with_regkern import Regkern
from regkern.bench.unmeasured import UNMEASURED

ROOT = Path(__file__).parents[2]
FUNCTIONS = [name for name in rk.__all__ if inspect.isfunction(getattr(rk, name))]
KERNELS = [name for name in FUNCTIONS if hasattr(ref, name)]
RUNTIME = {"get_num_threads", "set_num_threads", "show_config", "threads"}


def sources(pattern: str) -> list[Path]:
    return [p for p in sorted(ROOT.glob(pattern)) if "build" not in p.relative_to(ROOT).parts]


def test_names_are_listed_and_sorted() -> None:
    for module in (rk, ref):
        assert module.__all__ == sorted(module.__all__)
        assert len(set(module.__all__)) == len(module.__all__)
    assert set(rk.__all__) - set(ref.__all__) == RUNTIME | {"__version__"}
    assert set(ref.__all__) <= set(rk.__all__)


def test_the_reference_has_the_names_of_every_package() -> None:
    for name in ("augment", "augment.functional", "optim", "penalties", "stopping"):
        native, twin = (operator.attrgetter(name)(module) for module in (rk, ref))
        assert native.__all__ == twin.__all__, name
    signals = {kind.removeprefix("signal.") for kind in TYPES if kind.startswith("signal.")}
    assert signals == set(ref.augment.signal.__all__)


def test_the_reference_reads_what_was_written_down() -> None:
    """Its pipelines come back as its own."""
    some = ref.augment.RandomApply([ref.augment.RandomInvert(1.0)])
    signals = ref.augment.signal.Compose([ref.augment.signal.Jitter()])
    for made in (some, ref.augment.Compose([some, ref.augment.MixUp()]), signals):
        again = ref.augment.from_dict(made.to_dict())
        assert type(again) is type(made)
        assert [type(t) for t in again.transforms] == [type(t) for t in made.transforms]
    assert type(some.from_dict(some.to_dict())) is type(some)
    with pytest.raises(ValueError, match=r"^from_dict: type must be a transform or a pipeline, got 'Blur'"):
        ref.augment.from_dict({"type": "Blur"})


@pytest.mark.parametrize("name", KERNELS)
def test_native_and_reference_have_one_signature(name: str) -> None:
    native, twin = (inspect.signature(getattr(module, name)) for module in (rk, ref))
    assert [(p.name, p.kind, p.default) for p in native.parameters.values()] == [
        (p.name, p.kind, p.default) for p in twin.parameters.values()
    ]


def test_every_kernel_has_a_case() -> None:
    assert {c.function for c in cases.CASES} | set(cases.ELSEWHERE) == set(KERNELS)
    assert len({c.name for c in cases.CASES}) == len(cases.CASES)


def test_the_stub_and_the_compiled_module_agree() -> None:
    stub = ast.parse((Path(rk.__file__).parent / "_core.pyi").read_text())
    declared = {node.name for node in stub.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert declared == {name for name in dir(_core) if not name.startswith("_")}


def test_the_stub_takes_the_arguments_of_the_compiled_module() -> None:
    stub = ast.parse((Path(rk.__file__).parent / "_core.pyi").read_text())
    for node in stub.body:
        if isinstance(node, ast.FunctionDef):
            head = re.match(rf"{node.name}\((.*?)\) -> ", getattr(_core, node.name).__doc__)
            assert head is not None
            taken = [part for part in head[1].split(", ") if part]
            assert len(taken) == len(node.args.args), node.name


@pytest.mark.parametrize("name", [n for n in KERNELS if n not in cases.ELSEWHERE])
def test_docstring_and_cases_state_one_accuracy_class(name: str) -> None:
    text = inspect.getdoc(getattr(rk, name)) or ""
    stated = set(re.findall(r"Accuracy class\s+``(.+?)``", text))
    assert stated == {case.accuracy for case in cases.CASES if case.function == name}


def modules() -> list[ModuleType]:
    """All modules but the benchmark, which needs its extra, and torch's where there is none."""
    without = ["bench"] if importlib.util.find_spec("torch") else ["bench", "regkern.torch"]
    found = pkgutil.walk_packages(rk.__path__, "regkern.", onerror=lambda name: None)
    names = [m.name for m in found if not any(part in m.name for part in without)]
    return [rk, *(importlib.import_module(name) for name in names if name != "regkern.__main__")]


def test_no_module_is_called_like_a_function() -> None:
    """``import regkern.name`` gives a module, whatever else has been imported."""
    for module in modules():
        parent, _, leaf = module.__name__.rpartition(".")
        if parent:
            assert getattr(importlib.import_module(parent), leaf) is module
    assert not {module.__name__.rpartition(".")[2] for module in modules()} & set(rk.__all__)


def imports(path: Path) -> set[str]:
    """The modules of regkern that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] == "regkern"}


def test_the_specification_is_no_part_of_the_library() -> None:
    for path in sources("python/regkern/**/*.py"):
        if not {"reference", "bench"} & set(path.relative_to(ROOT).parts):
            assert not {name for name in imports(path) if name.startswith("regkern.reference")}, path


def test_the_reference_has_the_rooms_of_the_library() -> None:
    package = Path(rk.__file__).parent
    for folder in ("dropouts", "norms", "optim", "prox"):
        native, twin = ({p.name for p in (root / folder).glob("*.py")} for root in (package, package / "reference"))
        assert twin - native <= {"optimizers.py"}, folder


def test_kinds_of_arguments_are_checked_in_one_place() -> None:
    """Who asks what an int or a real number is, asks ``_checks``."""
    question = re.compile(
        r"np\.(integer|floating|number)\b|__index__|__float__|isinstance\([^)]*\b(int|bool|np\.bool_)\b"
    )
    asked = {}
    for path in sources("python/regkern/**/*.py"):
        if path.name != "_checks.py" and not {"bench", "reference"} & set(path.parts):
            asked[path.name] = len(question.findall(path.read_text()))
    # What a saved state may be made of; whether a smoothing, checked, is a window; an epoch in a pickle or in shared memory.
    assert {name: n for name, n in asked.items() if n} == {"fields.py": 1, "smoothing.py": 3, "collate.py": 1}


def test_the_first_page_names_everything() -> None:
    assert set(rk.__all__) - {"__version__"} <= set(re.findall(r"\w+", rk.__doc__))
    for module in ("augment", "optim", "penalties", "reference", "stopping"):
        assert f":mod:`regkern.{module}`" in rk.__doc__


def test_docstrings_are_written_out() -> None:
    """What a reader of the file or an editor sees is what help() says: no f-strings, no placeholders."""
    for path in sources("python/regkern/**/*.py"):
        text = path.read_text()
        assert not re.search(r"^    __doc__ = ", text, re.MULTILINE), path
        assert not re.search(r"^ *<[a-z][a-z0-9 ]*>$", text, re.MULTILINE), path


SCRIPT = """
from fractions import Fraction

import numpy as np
import regkern as rk
import regkern.augment as A
import regkern.reference as ref

w = [np.ones(3, np.float32)]
optimizer = rk.optim.AdamW(w, lr=1e-3, weight_decay=0.1, max_grad_norm=1.0, penalty=rk.penalties.GroupL2(0.1, axis=0))
optimizer.step([np.ones(3, np.float32)])
layer = rk.LayerNorm(3)
y = layer.forward(np.ones((2, 3), np.float32))
y, mask = rk.dropout(y, 0.5, rng=1)
pipeline = rk.augment.Compose([rk.augment.RandomCrop(8), rk.augment.MixUp(num_classes=10)])
stopper = rk.EarlyStopping(rk.stopping.any_of(rk.stopping.Patience(3), rk.stopping.GL(2.0)))
reveal_type(optimizer)
reveal_type(layer)
reveal_type(mask)
reveal_type(pipeline)
reveal_type(stopper.criterion)
rk.optim.AdamW(w, decoupled=True)
"""

# What a number may be is what the library takes, and a choice is one of its words.
NUMBERS = """
x = np.ones((2, 3), np.float32)
stopper.step(np.float32(0.5))
for number in (0.5, 1, np.float32(0.5), np.int8(1), np.array(0.5), Fraction(1, 2)):
    rk.prox_l1(x, number)
    ref.prox_l1(x, number)
    rk.dropout(x, number, rng=1, stream=np.uint64(3))
    ref.dropout(x, number, rng=1, stream=np.uint64(3))
    rk.batch_norm(x, training=True, eps=number, axis=np.int64(1))
    rk.layer_norm(x, axis=np.array(1), eps=number)
    rk.sgd_step(x, x, lr=number)
    rk.Dropout(number)
    rk.LayerNorm(np.int32(3), eps=number)
    rk.BatchNorm(3, momentum=number, activation="relu")
    rk.optim.Adam(w, lr=number, betas=(number, number))
    rk.penalties.L1(0.5).prox(x, number)
    rk.EarlyStopping(patience=np.int64(3), min_delta=number).step(number)
    rk.penalties.ElasticNet(number, np.float32(1))
    rk.optim.schedules.Cosine(number, np.int64(10))
    A.RandomHorizontalFlip(number)
    A.RandomResizedCrop(np.int64(8), scale=(number, 1))
rk.optim.SGD(w, lr=lambda step: np.float32(1 / (1 + step)))
rk.gelu_dropout(x, 0.5, approximate="tanh", rng=1)
batch = np.ones((2, 8, 8, 3), np.uint8)
reveal_type(pipeline.evaluation())
reveal_type(A.Compose([A.Resize(8)], layout="NCHW").evaluation())
reveal_type(pipeline(batch))
reveal_type(A.RandomHorizontalFlip()(batch))
reveal_type(A.RandomHorizontalFlip()(batch, masks=batch[..., 0]))
reveal_type(A.RandomCrop(4)(batch, return_params=True))
reveal_type(A.signal.Jitter()(np.ones((2, 8), np.float32)))
"""
REVEALED = ["Compose", "Compose", *["ndarray[tuple[Any, ...], dtype[Any]] | Any"] * 5]

WRONG = """
rk.prox_l1(x, "0.5")
rk.prox_l1(x, 1j)
rk.layer_norm(x, axis=1.0)
rk.dropout(x, None)
rk.BatchNorm(3, activation="tanh")
rk.gelu_dropout(x, 0.5, approximate="erf")
ref.gelu_dropout(x, 0.5, approximate="erf")
rk.adam_step(w[0], w[0], w[0], w[0], 1, lr=0.1, metric="l2")
rk.optim.FTRL(w, lr=0.1, l2_convention="torch")
A.RandomCrop(8, padding_mode="zeros")
A.Resize(8, interpolation="bicubic")
A.Compose([], layout="HWC")
A.MixUp(mode="all")
A.RandomErasing(mode="noise")
A.functional.pad(batch, 2, padding_mode="wrap")
rk.batch_norm_backward(x, rk.batch_norm(x, training=True)[1], wrt=["w"])
rk.EarlyStopping(mode="best")
rk.stopping.Patience(3, min_delta_mode="percent")
rk.proximal_gradient(lambda w: (0.0, w), x, rk.penalties.L1(0.1), method="newton")
rk.optim.schedules.OneCycle(0.1, 10, anneal="exp")
"""


def pyright(folder: Path, script: str) -> list[dict[str, Any]]:
    """What pyright, and with it VS Code, says of a user's script."""
    pytest.importorskip("pyright", reason="pyright is not installed")
    (folder / "script.py").write_text(script)
    (folder / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT / "python")]}))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    said: list[dict[str, Any]] = json.loads(done.stdout[done.stdout.index("{") :])["generalDiagnostics"]
    return said


def test_editors_see_the_library(tmp_path: Path) -> None:
    """Types of everything, and an error in every line that is wrong and in no other."""
    said = pyright(tmp_path, SCRIPT + NUMBERS + WRONG)
    types = [re.findall(r'is "(.*)"', entry["message"])[0] for entry in said if entry["severity"] == "information"]
    assert types == ["AdamW", "LayerNorm", "DropoutMask", "Compose", "Criterion", *REVEALED]
    lines = (SCRIPT + NUMBERS + WRONG).splitlines()
    flagged = {lines[entry["range"]["start"]["line"]] for entry in said if entry["severity"] == "error"}
    assert flagged == {SCRIPT.splitlines()[-1], *WRONG.split("\n")[1:-1]}


def test_completion_shows_what_a_module_has() -> None:
    """``dir`` of what users open holds its names and modules, and nothing that it imports for itself."""
    opened = [m for m in modules() if hasattr(m, "__path__") or m.__name__.count(".") == 1]
    opened += [rk.augment.signal, rk.optim.schedules, importlib.import_module("regkern.augment.sklearn")]
    for module in opened:
        if not module.__name__.rpartition(".")[2].startswith("_"):
            shown = {name for name in dir(module) if not name.startswith("_")}
            shown -= {name for name in shown if isinstance(getattr(module, name), ModuleType)}
            assert shown == set(module.__all__) - {"__version__"} - {
                "functional",
                "nn",
                "optim",
                "schedules",
                "signal",
            }, module


def test_docstring_examples_run() -> None:
    options = doctest.NORMALIZE_WHITESPACE
    results = [doctest.testmod(module, optionflags=options) for module in modules()]
    assert sum(r.failed for r in results) == 0
    assert sum(r.attempted for r in results) >= 2 * len(KERNELS)


@pytest.mark.parametrize("name", [n for n in rk.__all__ if n != "__version__"])
def test_public_names_are_documented(name: str) -> None:
    thing = getattr(rk, name)
    text = inspect.getdoc(thing)
    assert text
    if name in KERNELS:
        for section in ("Parameters", "Returns", "Raises", "Notes", "Examples"):
            if section == "Returns" and inspect.signature(thing).return_annotation == "None":
                continue
            assert f"\n{section}\n{'-' * len(section)}\n" in text, section
        assert "Accuracy class" in text
        for parameter in inspect.signature(thing).parameters:
            assert re.search(rf"(^|\n|, ){parameter}(,| :|\n)", text), parameter


PUBLIC = [
    "regkern",
    "regkern.augment",
    "regkern.augment.functional",
    "regkern.augment.signal",
    "regkern.augment.sklearn",
    "regkern.optim",
    "regkern.optim.schedules",
    "regkern.penalties",
    "regkern.stopping",
]
# What checks nothing: what the library hands out, abstract classes, whose methods say what they raise, and a wrapper.
UNCHECKED = {
    "BatchNormCache",
    "BatchNormStats",
    "Criterion",
    "NormCache",
    "Observation",
    "Penalty",
    "ProximalGradientResult",
    "Reason",
    "Schedule",
    "StepStats",
    "Stop",
    "indexed",
}


def public_things() -> dict[str, Any]:
    """All public classes and functions, by the shortest of their names."""
    found = {}
    for name in PUBLIC:
        module = importlib.import_module(name)
        for leaf in module.__all__:
            thing = getattr(module, leaf)
            if callable(thing) and thing not in found.values():
                found[f"{name}.{leaf}"] = thing
    return found


THINGS = public_things()


@pytest.mark.parametrize("name", THINGS)
def test_everything_public_says_what_the_page_of_functions_promises(name: str) -> None:
    """Every parameter, what is raised, and an example, in the thing's own docstring."""
    thing, (module, _, leaf) = THINGS[name], name.rpartition(".")
    text = inspect.cleandoc(thing.__doc__ or "")
    sections = set(re.findall(r"^(\w+)\n-+$", text, re.MULTILINE))
    taken = [] if leaf in ("Optimizer", "Reason") else list(inspect.signature(thing).parameters)
    assert not taken or sections & {"Parameters", "Attributes"}
    missing = [p for p in taken if not re.search(rf"^(?:[\w*]+, )*\**{p}(?:, [\w*]+)*(?: :|$)", text, re.MULTILINE)]
    assert not missing
    said_once = "\nErrors\n" in (importlib.import_module(module).__doc__ or "")  # for all functions of a module
    assert "Raises" in sections or said_once or leaf in UNCHECKED or not taken
    assert "Examples" in sections
    assert "\n>>> " in text.split("\nExamples\n")[1]


@pytest.mark.parametrize("name", [name for name in THINGS if name.rpartition(".")[2] not in UNCHECKED - {"Penalty"}])
def test_signatures_take_numbers_of_any_kind_and_name_their_choices(name: str) -> None:
    """Not a float or an int alone, where NumPy's and others are taken, and no string where a few words are."""
    thing = THINGS[name]
    methods = vars(thing).values() if inspect.isclass(thing) else ()
    for function in (thing, *(m for m in methods if inspect.isfunction(m) and not m.__name__.startswith("_"))):
        for p in inspect.signature(function).parameters.values():
            annotation = re.sub(r"Callable\[.*\]", "", str(p.annotation))  # what a user's function is given
            internal = (p.name, function.__name__) == ("steps", "watched")
            assert internal or not re.search(r"\b(float|int)\b", annotation), (function, p)
            overloaded = function is rk.show_config
            assert overloaded or not (annotation == "str" and isinstance(p.default, str)), (function, p)


def test_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert rk.__version__ == _core.__version__ == project["version"]
    assert project["version"] in (ROOT / "CHANGELOG.md").read_text()


def test_wheels_are_for_the_pythons_that_are_named() -> None:
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = re.findall(r"Python :: (3\.\d+)", " ".join(whole["project"]["classifiers"]))
    built = re.findall(r"cp(3)(\d+)-", whole["tool"]["cibuildwheel"]["build"])
    assert named == [".".join(parts) for parts in built] != []
    assert whole["project"]["requires-python"] == f">={named[0]}"


def test_no_fast_math() -> None:
    for path in [ROOT / "CMakeLists.txt", ROOT / "pyproject.toml", *sources("cpp/**/*.*")]:
        assert not re.search(r"-ffast-math|-Ofast|-march=native", path.read_text()), path


def test_kernels_know_neither_threads_nor_python() -> None:
    for path in sources("cpp/kernels/**/*.h"):
        includes = re.findall(r'#include [<"](.*)[>"]', path.read_text())
        assert not [i for i in includes if re.search(r"omp|thread|Python|pybind|vector|memory|algorithm", i)], path
    for path in sources("cpp/**/*.*"):
        if path.name != "threading.cc":
            assert "#include <omp.h>" not in path.read_text(), path


def without_comments(path: Path) -> str:
    return re.sub(r"//[^\n]*", "", path.read_text())


def ledgers() -> list[tuple[Path, str, list[str]]]:
    """The families of ``cpp/core`` that list their kernels: file, namespace, names."""
    found = []
    for path in sources("cpp/core/**/*.cc"):
        text = without_comments(path)
        family = re.search(r"#define REGKERN_FAMILY (\w+)", text)
        if family is not None:
            lists = re.findall(r"#define REGKERN_(?:PLAIN_)?KERNELS\(X\)((?:[^\n]*\\\n)*[^\n]*)", text)
            found.append((path, family[1], re.findall(r"X\((\w+)\)", " ".join(lists))))
    return found


@pytest.mark.parametrize(("path", "family", "names"), [pytest.param(*f, id=f[0].stem) for f in ledgers()])
def test_every_listed_kernel_is_called(path: Path, family: str, names: list[str]) -> None:
    """It is one of the family's namespace, and the code behind the list, or what that includes, asks for it."""
    assert len(set(names)) == len(names) != 0
    behind = without_comments(path).split("#if HWY_ONCE")[1]
    behind += "".join(without_comments(ROOT / "cpp" / header) for header in re.findall(r'#include "(core/.*)"', behind))
    assert [name for name in names if not re.search(rf"(\.|>\(\)\.){name}\b", behind)] == []
    kernels = "".join(
        block
        for header in sources("cpp/kernels/**/*-inl.h")
        for block in re.findall(
            rf"^namespace {family} {{$(.*?)^}}  // namespace {family}$", header.read_text(), re.MULTILINE | re.DOTALL
        )
    )
    # a function, or a table of functions
    entry = r"^(?!HWY_INLINE)\w[^\n]* %s(\(| = )"
    assert [name for name in names if not re.search(entry % name, kernels, re.MULTILINE)] == []


def test_tables_are_filled_by_name() -> None:
    """Two kernels of one type that change places compile; two names do not."""
    for path in sources("cpp/core/**/*.cc"):
        for table in re.findall(
            r"constexpr \w+(?:<\w+>)? k\w*(?:Table|Pixels)\w* =\s*{(.*?)};", path.read_text(), re.DOTALL
        ):
            assert all(re.match(r"\s*\.\w+ = ", entry) for entry in table.split(",")), path


# One parameter: a type, pointers and references, a name, a default.
PARAMETER = re.compile(
    r"(?:const )?[\w:]+(?:<.*>)?(?: const)?(?:\.\.\.)?(?:(?:\s*[*&]+(?:\s*const)?)+\s*|\s+)\w+(?:\[\w*\])?(?: = .*)?"
)


def parameters(text: str) -> list[tuple[str, int]]:
    """Of each function and lambda of the C++ ``text``: its name, or "]", and how many parameters it has."""
    found = []
    for head in re.finditer(r"(\b\w+|\])\(", text):
        depth, part, parts = 0, "", []
        for letter in text[head.end() :]:
            depth += (letter in "([{<") - (letter in ")]}>")
            if depth < 0 or (depth == 0 and letter == ","):
                parts.append(" ".join(part.split()))
                part = ""
            else:
                part += letter
            if depth < 0:
                break
        if parts and all(PARAMETER.fullmatch(p) for p in parts):
            found.append((head[1], len(parts)))
    return found


def test_no_function_takes_many_parameters() -> None:
    """More are a struct."""
    most, seen = 8, 0
    longer = {("filters-inl.h", "]")}  # the lambda of smooth: the nine pixels of a window
    for path in sources("cpp/**/*.*"):
        functions = parameters(without_comments(path))
        seen += len(functions)
        assert [f for f in functions if f[1] > most and (path.name, f[0]) not in longer] == [], path
    assert seen > 700


def test_every_file_of_cpp_says_what_it_is() -> None:
    for path in sources("cpp/**/*.*"):
        head = re.match(r"(// [^\n]+\n)(//[^\n]*\n)*\n", path.read_text())
        assert head is not None, path


def test_comments_are_as_narrow_as_code() -> None:
    """clang-format leaves them: its ColumnLimit holds for them too."""
    limit = re.search(r"^ColumnLimit: (\d+)$", (ROOT / ".clang-format").read_text(), re.MULTILINE)
    assert limit is not None
    for path in sources("cpp/**/*.*"):
        assert [line for line in path.read_text().splitlines() if len(line) > int(limit[1])] == [], path


# A file by its name, or a folder of the project; what the build and users make is none.
PATH = re.compile(
    r"(?<![\w./<>*-])[\w./*-]*\w\.(?:py|pyi|h|cc|md|toml|txt)\b(?![\w/(<*]|\.\w)"
    r"|(?<![\w./-])(?:regkern|cpp|docs|tests|python|reference|kernels|core|bindings)/[\w/]*\w(?![\w.*<])"
)


def said(path: Path) -> str:
    """A page, or the comments and docstrings of a source."""
    text = path.read_text()
    if path.suffix in (".h", ".cc"):
        return "\n".join(re.findall(r"//[^\n]*", text))
    if path.suffix == ".py":
        comments = [
            t.string for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT
        ]
        kinds = ast.Module | ast.FunctionDef | ast.ClassDef
        docstrings = [ast.get_docstring(n) or "" for n in ast.walk(ast.parse(text)) if isinstance(n, kinds)]
        return "\n".join(comments + docstrings)
    return text


def test_files_that_are_named_exist() -> None:
    folders = ("benchmarks", "cpp", "docs", "examples", "python", "tests")
    files = {p for folder in folders for p in sources(f"{folder}/**/*.*")}
    files |= set(sources("*.*"))
    there = "\n".join(f"/{p.relative_to(ROOT)}" for p in files if p.is_file())
    seen, missing = 0, []
    for path in sorted(files):
        if path.suffix in (".h", ".cc", ".md", ".py") and path.name != "CHANGELOG.md":
            names = (name.removeprefix("../") for name in PATH.findall(said(path)))
            for name in [*names, *(cases.ELSEWHERE.values() if path.name == "cases.py" else [])]:
                seen += 1
                found = f"/{re.escape(name)}{'$' if PurePath(name).suffix else ''}".replace(r"\*", ".*")
                if name not in ("script.py", "hwy/foreach_target.h") and not re.search(found, there, re.MULTILINE):
                    missing.append(f"{path.relative_to(ROOT)}: {name}")
    assert seen > 150
    assert missing == []


def test_comments_are_whole_lines() -> None:
    """No formatter has cut one: a line that goes on is long, and a heading's rule is on its line."""
    for path in sources("cpp/**/*.*"):
        lines = path.read_text().splitlines()
        for first, second in itertools.pairwise(lines):
            assert not re.match(r"\s*// -{10}", second), (path, second)
            one, two = (re.fullmatch(r"(\s*)// (\S.*)", line) for line in (first, second))
            if one is None or two is None or one[1] != two[1] or re.match(r"[-\d(]", two[2]):
                continue
            goes_on = not re.search(r"[.,:;!?)…]$|-$", one[2])
            assert not (goes_on and len(first) + len(two[2].split()[0]) < 80), (path, first, second)


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump")
def test_no_instruction_of_avx_vnni() -> None:
    """GCC 12 makes some for AVX-512 with VNNI, whose CPUs need not have them: an illegal instruction there."""
    listing = subprocess.run(["objdump", "-d", _core.__file__], capture_output=True, text=True, check=True).stdout
    assert "{vex}" not in listing


def test_the_module_exports_its_entry_point_only() -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm is not installed")
    listing = subprocess.run([nm, "-D", "--defined-only", _core.__file__], capture_output=True, text=True, check=True)
    symbols = {line.split()[-1].split("@")[0] for line in listing.stdout.splitlines()}
    # The C++ runtime marks a few of its own inline functions as unique for the whole process.
    assert {s for s in symbols if not s.startswith("_Z")} == {"PyInit__core"}
    assert not [s for s in symbols if "regkern" in s]


def run_tool(*command: str) -> None:
    if importlib.util.find_spec(command[0].replace("-", "_")) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_check() -> None:
    run_tool("ruff", "check")


def test_ruff_format() -> None:
    run_tool("ruff", "format", "--check")


def test_mypy() -> None:
    run_tool("mypy")


def test_clang_format() -> None:
    if importlib.util.find_spec("clang_format") is None:
        pytest.skip("clang-format is not installed")
    import clang_format  # noqa: PLC0415

    files = [str(p) for p in sources("cpp/**/*.*") if p.suffix in (".h", ".cc")]
    program = Path(clang_format.__file__).parent / "data" / "bin" / "clang-format"
    done = subprocess.run(
        [program, "--dry-run", "--Werror", *files], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[:4000]


def test_importing_needs_numpy_alone() -> None:
    code = "import sys, regkern, regkern.reference; print(sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout))
    assert "numpy" in loaded
    assert not loaded & {"rich", "matplotlib", "scipy", "sklearn", "torch", "numba", "jax"}


def test_import_leaves_the_floating_point_state_alone() -> None:
    """A library linked with fast-math would flush denormals to zero in the whole process."""
    code = "import regkern; x = 5e-324; assert x * 1.0 == x != 0; assert repr(x) == '5e-324'"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert np.finfo(np.float64).smallest_subnormal > 0


def measured_by_the_benchmark() -> set[str]:
    """The dotted names of what has an entry."""
    names = {kernel.name.split()[0] for kernel in bench.KERNELS} - {"training"}
    return {f"augment.{name}" if not hasattr(rk, name.partition(".")[0]) else name for name in names}


def test_everything_public_is_measured_or_says_why_not() -> None:
    public = {name.removeprefix("regkern.") for name in THINGS} | set(FUNCTIONS)
    measured = measured_by_the_benchmark()
    assert measured <= public
    modules = {name for name in UNMEASURED if f"regkern.{name}" in PUBLIC}
    of_modules = {name for name in public if any(name.startswith(f"{module}.") for module in modules)}
    assert public - measured - of_modules == UNMEASURED.keys() - modules
    assert all(UNMEASURED.values())


def test_the_page_of_functions_names_what_the_benchmark_knows() -> None:
    """The first column of every table there: measured, or with a reason why not."""
    page = (ROOT / "docs" / "functions.md").read_text()
    columns = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = {name for column in columns for name in re.findall(r"`([\w.]+)", column)}
    known = measured_by_the_benchmark() | UNMEASURED.keys()
    assert len(named) > 80
    assert {name for name in named if name not in known and name.rpartition(".")[0] not in known} == set()
    assert measured_by_the_benchmark() & set(FUNCTIONS) <= named


def test_every_entry_of_the_benchmark_can_be_called() -> None:
    assert {kernel.op for kernel in bench.KERNELS if not callable(getattr(Regkern, kernel.op, None))} == set()
    extras = {op for kernel in bench.KERNELS for _, peer, op in kernel.extras if peer == REGKERN}
    assert {op for op in extras if not callable(getattr(Regkern, op, None))} == set()


def test_operations_have_one_order() -> None:
    """Programs of augmentation go to C++ as numbers."""
    header = (ROOT / "cpp" / "include" / "regkern" / "augment.h").read_text()
    body = header.split("enum class Op {")[1].split("\n};")[0]
    in_cpp = re.findall(r"^ *k(\w+),", body, re.MULTILINE)
    assert [name.upper() for name in in_cpp] == [op.name.replace("_", "") for op in Op]
    assert [op.value for op in Op] == list(range(len(in_cpp)))
