"""What is saved comes back, to the bit and with its type; others read it, and what others wrote is read."""

from __future__ import annotations

import enum
import json
import math
import struct
import warnings
from collections import OrderedDict, namedtuple
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy

import regkern as rk
import regkern.reference as ref
from comparing import layouts
from regkern.files import layout

DTYPES = [np.dtype(name) for name in layout.CODES if name != "bfloat16"]


def frozen(thing: Any) -> Any:
    """All of a state with its types, comparable to the bit."""
    if isinstance(thing, np.ndarray | np.generic):
        native = thing.astype(thing.dtype.newbyteorder("="))
        return type(thing).__name__, thing.shape, str(native.dtype), native.tobytes()
    if isinstance(thing, dict):
        return "dict", [(frozen(name), frozen(value)) for name, value in thing.items()]
    if isinstance(thing, list | tuple):
        return type(thing).__name__, [frozen(item) for item in thing]
    if isinstance(thing, float):
        return "float", struct.pack("d", thing)
    return type(thing).__name__, hex(thing) if isinstance(thing, int) else repr(thing)


def back(path: Path, **parts: Any) -> dict[str, Any]:
    rk.save(path, **parts)
    return rk.load(path)


NAN = struct.unpack("d", struct.pack("Q", 0xFFF8_0000_DEAD_BEEF))[0]
LEAVES: list[Any] = [
    *(None, True, False, 0, -1, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**128 - 1, -(10**6000)),
    *(0.0, -0.0, 0.1, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan, NAN),
    *("", "text", "ü\0\"\\\n", "\ud800", "dict", "😀"),
    *([], (), {}, [()], ([],), (1, [2, (3, {"a": (4,)})]), {"": {"": ""}}, {"dict": 1}, {"array": "x"}),
    *({1: 2, "1": 3}, {(1, ("a", None)): 0.5}, {None: 1, True: 2, 1.5: 3}, {2**70: -0.0}),
    *(np.float32(0.1), np.int8(-3), np.bool_(True), np.float64(-0.0), np.uint64(2**64 - 1), np.complex64(1 - 2j)),
    *(rk.penalties.L1(0.5), rk.penalties.Box(-math.inf, 1.0), rk.penalties.SortedL1(0.1, [3.0, 1.0])),
    rk.penalties.L1(0.5, [[0, 1.0], [2.0, 3.0]]),
    rk.penalties.ElasticNet(0.5, 0.1, np.ones(3, np.float32)) + rk.penalties.L1(0.5, [1, 1, 1]),
    rk.penalties.GroupL2(0.1, indptr=(0, 2, 3), indices=(2, 0, 1), weights=(1.0, 2.0)) + rk.penalties.Ridge(2.0),
]  # fmt: skip


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: type(leaf).__name__)
def test_what_is_no_array_keeps_its_type_and_value(leaf: Any, tmp_path: Path) -> None:
    state = {"leaf": leaf, "in a list": [leaf, leaf], "in a tuple": (leaf,)}
    assert frozen(back(tmp_path / "x", part=state, leaf=leaf)) == frozen({"part": state, "leaf": leaf})


def test_every_penalty_comes_back(tmp_path: Path) -> None:
    made = {"Box": (0.0, 1.0), "BoxedL1": (0.1, 0.0, 1.0), "Nonneg": (), "SortedL1": (0.1, [2.0, 1.0])}
    made |= dict.fromkeys(("L1Ball", "L2Ball", "Simplex", "Huber"), (1.0,))
    made |= dict.fromkeys(("ElasticNet", "MCP", "LogSum", "FusedLasso"), (0.1, 2.0)) | {"SCAD": (0.1, 3.0)}
    made |= {"SparseGroup": (0.1, 0.2, 3), "GroupL2": (0.1, 3)}
    for name in rk.penalties.__all__:
        if name != "Penalty":
            penalty = getattr(rk.penalties, name)(*made.get(name, (0.1,)))
            assert back(tmp_path / "x", penalty=penalty) == {"penalty": penalty}
            twin = getattr(ref.penalties, name)(*made.get(name, (0.1,)))
            assert back(tmp_path / "x", penalty=twin) == {"penalty": penalty}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_arrays_of_any_memory(dtype: np.dtype[Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for shape in [(7,), (3, 4), (2, 3, 5), (1, 1), (300, 500)]:
        numbers = rng.integers(0, 2 if dtype == bool else 256, (*shape, dtype.itemsize), np.uint8)
        a = numbers.view(dtype)[..., 0]  # of any bits: NaNs with a payload, too
        arrays = dict(layouts(a)) | {
            "swapped": a.astype(dtype.newbyteorder()),
            "broadcast": np.broadcast_to(a, a.shape),
        }
        got = back(tmp_path / "x", **arrays)
        for name in arrays:
            assert frozen(got[name]) == frozen(np.ascontiguousarray(a)), (name, shape)
            assert got[name].dtype.isnative
            assert got[name].flags.c_contiguous
            assert got[name].flags.writeable
            assert got[name].flags.aligned


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_arrays_without_elements_or_axes(dtype: np.dtype[Any], tmp_path: Path) -> None:
    arrays = {
        **{str(shape): np.ones(shape, dtype) for shape in [(), (0,), (3, 0, 2), (0, 0)]},
        "swapped": np.array(1, dtype.newbyteorder()),
    }
    assert frozen(back(tmp_path / "x", **arrays)) == frozen(arrays)


def test_arrays_of_many_axes_and_many_arrays(tmp_path: Path) -> None:
    state = {"deep": np.ones((1,) * 64), "many": [np.full(1, i, "f") for i in range(3000)]}
    assert frozen(back(tmp_path / "x", **state)) == frozen(state)


KEYS = st.one_of(st.text(max_size=4), st.integers(), st.none(), st.booleans(), st.tuples(st.text(max_size=2)))
ARRAYS = of_numpy.arrays(st.sampled_from(DTYPES), of_numpy.array_shapes(min_dims=0, min_side=0, max_side=3))
STATES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), ARRAYS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple), st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=20,
)


@given(parts=st.dictionaries(st.text(max_size=5), STATES, min_size=1, max_size=3))
@settings(max_examples=100)
def test_any_state_comes_back(parts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    assert frozen(back(tmp_path_factory.getbasetemp() / "any", **parts)) == frozen(parts)


def test_names_of_arrays_are_their_places_and_differ(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    a = [np.full(2, i, "f") for i in range(9)]
    state = {
        "x": {"a.b": a[0], "a": {"b": a[1]}, "a.b-2": a[2], "\ud800": a[3], "?": a[4], "": a[5]},
        "__metadata__": a[6],
        "list": [(a[7],), a[8]],
    }
    assert frozen(back(tmp_path / "x", **state)) == frozen(state)
    found = safetensors.load_file(tmp_path / "x")
    names = ["x.a.b", "x.a.b-2", "x.a.b-2-2", "x.?", "x.?-2", "x.", "__metadata__-2", "list.0.0", "list.1"]
    assert {name: b[0] for name, b in found.items()} == dict(zip(names, range(9), strict=True))


def test_others_read_it(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    rng = np.random.default_rng(2)
    arrays = {str(t): rng.integers(0, 2, (3, 5)).astype(t) for t in DTYPES}
    arrays |= {"scalar": np.array(2.5), "empty": np.zeros((0, 4), "f"), "strided": np.arange(24.0).reshape(4, 6).T[::2]}
    arrays |= {"big-endian": np.arange(3, dtype=">i2")}
    rk.save(tmp_path / "x", **arrays, number=3, text="ü")
    found = safetensors.load_file(tmp_path / "x")
    assert {n: frozen(a) for n, a in found.items()} == {
        n: frozen(a.astype(a.dtype.newbyteorder("="), order="C")) for n, a in arrays.items()
    }


@pytest.mark.parametrize("metadata", [None, {"format": "np", "regkern.sha": "?"}], ids=["", "metadata"])
def test_what_others_wrote_is_a_flat_dict_of_arrays(metadata: Any, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    rng = np.random.default_rng(2)
    arrays = {f"layer.{t}": rng.integers(0, 2, (3, 5)).astype(t) for t in DTYPES}
    arrays |= {"scalar": np.array(2.5), "empty": np.zeros((0, 4), "f"), "": np.ones(1)}
    safetensors.save_file(arrays, tmp_path / "x", metadata)
    found = rk.load(tmp_path / "x")
    assert {n: frozen(a) for n, a in found.items()} == {n: frozen(a) for n, a in arrays.items()}
    with pytest.raises(ValueError, match=r"^load: '.*x' must be a file of save where parts are given, got one of "):
        rk.load(tmp_path / "x", scalar=arrays["scalar"])


def test_brain_floats(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    a = np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16).T
    got = back(tmp_path / "x", a=a, scalar=a[1, 1])
    assert got["a"].dtype == ml_dtypes.bfloat16
    assert frozen(got) == frozen({"a": np.ascontiguousarray(a), "scalar": a[1, 1]})


def test_the_file_is_what_the_page_says(tmp_path: Path) -> None:
    """Read by hand: the header, its padding, arrays at multiples of their size, the checksum."""
    import hashlib  # noqa: PLC0415

    rk.save(tmp_path / "x", a=np.ones(3, np.int8), b=np.ones(3), c=np.ones((1, 3), "f"), n=7)
    data = (tmp_path / "x").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    assert length % 8 == 0
    assert header == {
        "b": {"dtype": "F64", "shape": [3], "data_offsets": [0, 24]},
        "c": {"dtype": "F32", "shape": [1, 3], "data_offsets": [24, 36]},
        "a": {"dtype": "I8", "shape": [3], "data_offsets": [36, 39]},
    }
    assert metadata["regkern"] == "1"
    assert json.loads(metadata["parts"])["dict"]["n"] == 7
    digest = metadata["regkern.sha256"]
    assert data.count(digest.encode()) == 1
    assert hashlib.sha256(data.replace(digest.encode(), b"0" * 64)).hexdigest() == digest


class Colour(enum.IntEnum):
    RED = 1


class OfAUser(rk.penalties.Penalty):
    def value(self, w: Any) -> float:
        return 0.0

    def prox(self, w: Any, step: float, out: Any = None) -> Any:
        return w


class L1(rk.penalties.L1):
    """A user's, by the name of another."""


Pair = namedtuple("Pair", "a b")
REFUSED: dict[str, tuple[Any, str]] = {
    "object": (object(), r"x must be arrays, numbers, .*, got builtins.object$"),
    "bytes": (b"x", r"x must be arrays, .*, got builtins.bytes$"),
    "complex": (1j, r"x must be arrays, .*, got builtins.complex$"),
    "set": ({1}, r"x must be arrays, .*, got builtins.set$"),
    "Fraction": (Fraction(1, 3), r"x must be arrays, .*, got fractions.Fraction$"),
    "IntEnum": (Colour.RED, r"x must be arrays, .*Colour$"),
    "namedtuple": (Pair(1, 2), r"x must be arrays, .*Pair$"),
    "function": (len, r"x must be arrays, .*, got builtins.builtin_function"),
    "class": (rk.Dropout, r"x must be arrays, .*, got builtins.type$"),
    "penalty": (OfAUser(), r"x must be arrays, .*OfAUser$"),
    "penalty of a known name": (L1(0.5), r"x must be arrays, .*L1$"),
    "masked": (np.ma.masked_array([1.0, 2.0]), r"x must be arrays, .*MaskedArray$"),
    "complex128": (np.zeros(2, complex), r"x must have a dtype among bool, .*, got complex128$"),
    "float128": (np.zeros(2, np.longdouble), r"x must have a dtype among .*, got (float128|longdouble)$"),
    "objects": (np.array([None]), r"x must have a dtype among .*, got object$"),
    "texts": (np.array(["a"]), r"x must have a dtype among .*, got <U1$"),
    "numpy text": (np.str_("a"), r"x must have a dtype among .*, got <U1$"),
    "dates": (np.zeros(2, "M8[s]"), r"x must have a dtype among .*, got datetime64\[s\]$"),
    "records": (np.zeros(2, [("a", "f4")]), r"x must have a dtype among .*, got \[\('a', '<f4'\)\]$"),
    "key": ({(1, b"x"): 1}, r"keys of x must be strings, numbers, None or tuples of these, got b'x'$"),
    "numpy key": ({np.int64(1): 1}, r"keys of x must be strings, .*, got np.int64\(1\)$"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_come_back_is_refused(kind: str, tmp_path: Path) -> None:
    value, message = REFUSED[kind]
    for label, x in [("x", value), (r"x\['k'\]\[1\]", {"k": [0, value]})]:
        with pytest.raises(TypeError, match="^save: " + message.replace("x must", f"{label} must", 1)):
            rk.save(tmp_path / "x", x=x)
    assert list(tmp_path.iterdir()) == []


def test_parts_are_given_by_keyword_and_paths_are_paths(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"^save: parts must be given by keyword, got none$"):
        rk.save(tmp_path / "x")
    for name, call in (("save", rk.save), ("load", rk.load)):
        rule = rf"^{name}: parts must be given by keyword, as {name}\(path, model=model\), got"
        for unnamed, got in [
            ((tmp_path / "x", {}), "a dict without a name"),
            (({"w": np.ones(2)}, tmp_path / "x"), r"a \w+Path without a name"),
            ((str(tmp_path / "x"), [np.ones(2)], 3), "a list without a name"),
        ]:
            with pytest.raises(TypeError, match=f"{rule} {got}$"):
                call(*unnamed)  # type: ignore[operator]
    assert not any(tmp_path.iterdir())
    for path in (None, 3, 1.5, [], object()):
        for call in (lambda path: rk.save(path, a=1), rk.load):
            with pytest.raises(TypeError, match=r"^(save|load): path must be a string or path-like, got "):
                call(path)
    for call in (lambda path: rk.save(path, a=1), rk.load):
        with pytest.raises(ValueError, match=r"^(save|load): path must have no null character, got "):
            call("a\0b")
    for path in (str(tmp_path / "s"), tmp_path / "p", bytes(tmp_path / "b"), tmp_path / "\udcff"):
        rk.save(path, path=1, function=2, self=3)
        assert rk.load(path) == {"path": 1, "function": 2, "self": 3}


def test_what_holds_itself_is_refused(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    deep: Any = 0
    for _ in range(101):
        deep = [deep]
    for x in (loop, deep):
        with pytest.raises(ValueError, match=r"^save: x must be at most 100 deep, got more$"):
            rk.save(tmp_path / "x", x=x)
    assert frozen(back(tmp_path / "x", x=deep[0])) == frozen({"x": deep[0]})


def test_more_than_a_header_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rk.save(tmp_path / "x", x=1)
    monkeypatch.setattr(layout, "LONGEST", 1000)
    with pytest.raises(ValueError, match=r"^save: '.*x' must need at most 1000 bytes for what is no array, got \d+$"):
        rk.save(tmp_path / "x", x="." * 1000)
    assert rk.load(tmp_path / "x") == {"x": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_dicts_and_arrays_of_other_classes_come_back_as_plain_ones(tmp_path: Path) -> None:
    assert frozen(back(tmp_path / "x", x=OrderedDict(b=1, a=2))) == frozen({"x": {"b": 1, "a": 2}})
    mapped = np.memmap(tmp_path / "mapped", np.float32, "w+", shape=(2, 2))
    for derived in (np.ones((1, 2)).view(np.matrix), mapped, np.ones((2, 2)).view(np.recarray)):
        made = back(tmp_path / "x", x=derived)["x"]
        assert type(made) is np.ndarray
        assert made.shape == derived.shape
        assert made.tobytes() == derived.tobytes()


class Model:
    """A user's own, with what it is made of."""

    def __init__(self) -> None:
        self.w, self.norm = np.ones((2, 3)), rk.LayerNorm(3)

    def state_dict(self) -> dict[str, Any]:
        return {"w": self.w, "norm": self.norm}


def test_objects_are_their_state_dicts(tmp_path: Path) -> None:
    for module in (rk, ref):
        w = [np.ones(3)]
        made = {
            "optimizer": module.optim.Adam(w),
            "layer": module.BatchNorm(3),
            "stopper": module.EarlyStopping(patience=3),
            "pipeline": module.augment.Compose([module.augment.RandomCrop(2)], rng=3),
        }
        made["optimizer"].step([np.ones(3)])
        made["stopper"].step(1.0, params=w)
        got = back(tmp_path / "x", **made, nested=[made["layer"], {"deep": made["optimizer"]}])
        states = {name: part.state_dict() for name, part in made.items()}
        states["stopper"]["seconds"] = got["stopper"]["seconds"]
        assert frozen(got["nested"]) == frozen([states["layer"], {"deep": states["optimizer"]}])
        del got["nested"]
        assert frozen(got) == frozen(states)
    got = back(tmp_path / "x", model=Model(), rng=np.random.default_rng(1))
    assert frozen(got["model"]) == frozen({"w": np.ones((2, 3)), "norm": rk.LayerNorm(3).state_dict()})
    assert got["rng"] == np.random.default_rng(1).bit_generator.state


def test_nothing_warns_about_numbers_that_are_none(tmp_path: Path) -> None:
    bits = np.array([0x7F800001, 0xFFC00000, 0x7FC12345], np.uint32).view("f")  # one of them signals
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = back(tmp_path / "x", a=bits, b=bits.byteswap().view(">f4"))
    assert got["a"].tobytes() == got["b"].tobytes() == bits.tobytes()
