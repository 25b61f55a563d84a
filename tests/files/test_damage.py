"""Truncated, foreign, oversized and hostile files: one error, before memory is asked for, and nothing has changed."""

from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import regkern as rk
from regkern.files import layout

STATE = {"w": np.arange(6.0).reshape(2, 3), "b": np.ones(3, np.int8), "flags": np.array([True, False]), "n": (1, -0.0)}


def error_of(path: Path, **parts: Any) -> str:
    with pytest.raises(ValueError, match=r"^load: '.*' must ") as caught:
        rk.load(path, **parts)
    message = str(caught.value)
    assert message.startswith(f"load: {str(path)!r} must ")
    assert len(message) < len(str(path)) + 600
    return message


def loaded(path: Path) -> dict[str, Any] | None:
    """What is in a file; None if that was refused."""
    try:
        return rk.load(path)
    except ValueError as error:
        message = str(error)
    assert message.startswith(f"load: {str(path)!r} must ")
    return None


def saved(path: Path, **parts: Any) -> bytes:
    rk.save(path, **parts or STATE)
    return path.read_bytes()


def of(header: Any, data: bytes = b"", fill: bool = True) -> bytes:
    """A file of safetensors, whose header is text or what JSON makes of it."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8) if fill else b""
    return len(text).to_bytes(8, "little") + text + data


def signed(data: bytes) -> bytes:
    """With the checksum that it should have."""
    assert data[8:].startswith(layout.HEAD)
    data = data[: layout.DIGITS.start] + b"0" * 64 + data[layout.DIGITS.stop :]
    return data[: layout.DIGITS.start] + hashlib.sha256(data).hexdigest().encode() + data[layout.DIGITS.stop :]


def of_save(parts: Any, arrays: dict[str, Any] | None = None, data: bytes = b"", **metadata: Any) -> bytes:
    """A file as of ``save``, checksum and all, that holds any parts."""
    text = parts if isinstance(parts, str) else json.dumps(parts)
    facts = {"regkern.sha256": "0" * 64, "regkern": "1", "parts": text} | metadata
    return signed(of({"__metadata__": facts, **(arrays or {})}, data))


def test_files_that_are_cut_or_longer(tmp_path: Path) -> None:
    path, part = tmp_path / "x", np.full((2, 3), 7.0)
    data = saved(path)
    for end in range(len(data)):
        path.write_bytes(data[:end])
        error_of(path, w=part)
    for more in (b"\0", b"x" * 8, data):
        path.write_bytes(data + more)
        error_of(path, w=part)
    assert (part == 7).all()


def test_every_bit_counts(tmp_path: Path) -> None:
    path, part = tmp_path / "x", np.full((2, 3), 7.0)
    data = saved(path)
    for at in range(len(data)):
        for bit in range(8):
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
            error_of(path, w=part)
    assert (part == 7).all()
    path.write_bytes(data)
    rk.load(path, w=part)
    assert (part == STATE["w"]).all()


def test_mixtures_of_files(tmp_path: Path) -> None:
    """Blocks lost, swapped, or of another version, as after a crash of a file system."""
    path = tmp_path / "x"
    data = saved(path, a=np.arange(20_000.0), b="text")
    other = saved(path, a=np.arange(20_000.0) + 1, b="text")
    rng = random.Random(1)
    for _ in range(100):
        begin, size = 512 * rng.randrange(len(data) // 512), 512 * rng.randrange(1, 20)
        size = len(data[begin : begin + size])
        for block in (b"\0" * size, other[begin : begin + size], rng.randbytes(size)):
            mixed = data[:begin] + block + data[begin + size :]
            if mixed != data:
                path.write_bytes(mixed)
                error_of(path)


def one(**changes: Any) -> dict[str, Any]:
    """The header of one array of 8 bytes, spoiled."""
    return {"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]} | changes}


def two(first: list[int], second: list[int]) -> dict[str, Any]:
    return {
        "a": {"dtype": "F64", "shape": [1], "data_offsets": first},
        "b": {"dtype": "F64", "shape": [1], "data_offsets": second},
    }


EIGHT = bytes(8)
HEADERS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", r"begin with the length of a header that it holds, got 0 bytes"),
    "seven bytes": (b"1234567", "begin with the length of a header that it holds, got 7 bytes"),
    "a claim of 2^60": ((1 << 60).to_bytes(8, "little") + b"{}", "begin with the length of a header that it holds"),
    "a claim of 2^64 - 1": (b"\xff" * 8 + b"{}" * 50, "begin with the length of a header that it holds"),
    "one byte too many": ((3).to_bytes(8, "little") + b"{}", "begin with the length of a header that it holds"),
    "no header": (bytes(8), "begin with a header that is a JSON object, got b''"),
    "an archive": (b"PK\x03\x04" + bytes(100), "begin with the length of a header that it holds"),
    "a pickle": (b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00\x00" * 9, "begin with the length of a header"),
    "a .npy": (b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'shape': (3,)}" + bytes(100), "begin with the length of a header"),
    "a text": (b"a text of many words, that goes on and on", "begin with the length of a header that it holds"),
    "a list": (of([]), "begin with a header that is a JSON object"),
    "a string": (of("{}"), "begin with a header that is a JSON object"),
    "spaces first": (of(b" {}"), "begin with a header that is a JSON object"),
    "no JSON": (of(b"{a}"), "have a header that is JSON, got one that is not"),
    "JSON and more": (of(b"{}{}"), "have a header that is JSON, got one that is not"),
    "JSON and zeros": (of(b"{}" + bytes(6)), "have a header that is JSON, got one that is not"),
    "half of a JSON": (of(b'{"a":'), "have a header that is JSON, got one that is not"),
    "no UTF-8": (of(b'{"\xff":1}'), "have a header that is JSON, got one that is not"),
    "overlong UTF-8": (of(b'{"\xc0\xaf":1}'), "have a header that is JSON, got one that is not"),
    "UTF-16": (of('{"a":1}'.encode("utf-16-le")), "have a header that is JSON, got one that is not"),
    "NaN": (of(b'{"a":NaN}'), "have a header that is JSON, .*NaN is no number of JSON"),
    "a name twice": (of(b'{"a":1,"a":1}'), "have a header that is JSON, .*a name stands twice"),
    "a name twice within": (of(b'{"a":{"b":1,"b":1}}'), "have a header that is JSON, .*a name stands twice"),
    "names escaped alike": (of(rb'{"a":1,"\u0061":1}'), "have a header that is JSON, .*a name stands twice"),
    "metadata twice": (of(b'{"__metadata__":{},"__metadata__":{}}'), "a name stands twice"),
    "many lists": (of(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), "have a header that is JSON"),
    "many dicts": (of(b'{"a":' * 200_000 + b"1" + b"}" * 200_000), "have a header that is JSON"),
    "many digits": (of(b'{"a":' + b"9" * 100_000 + b"}"), "have a header that is JSON"),
    "metadata of numbers": (of({"__metadata__": {"a": 1}}), r"have metadata that are strings, got \{'a': 1\}"),
    "metadata of None": (of({"__metadata__": None}), "have metadata that are strings, got None"),
    "an entry that is a list": (of({"a": [1]}), r"describe 'a' by dtype, shape and data_offsets, got \[1\]"),
    "an entry with more": (of(one(more=1), EIGHT), "describe 'a' by dtype, shape and data_offsets"),
    "an entry with less": (of({"a": {"dtype": "F64", "shape": [1]}}, EIGHT), "describe 'a' by dtype, shape and data_off"),
    "a dtype of no name": (of(one(dtype=3), EIGHT), "describe 'a' by dtype, shape and data_offsets"),
    "a dtype of a list": (of(one(dtype=["F64"]), EIGHT), "describe 'a' by dtype, shape and data_offsets"),
    "objects": (of(one(dtype="O"), EIGHT), "have dtypes among BOOL, I8, .*, got 'O' of 'a'"),
    "a dtype of NumPy": (of(one(dtype="float64"), EIGHT), "have dtypes among BOOL, I8, .*, got 'float64' of 'a'"),
    "eight bits": (of(one(dtype="F8_E4M3", shape=[8]), EIGHT), "have dtypes among BOOL, .*, got 'F8_E4M3' of 'a'"),
    "a shape of no list": (of(one(shape=1), EIGHT), "describe 'a' by dtype, shape and data_offsets"),
    "a length of a float": (of(one(shape=[1.0]), EIGHT), "describe 'a' by dtype, shape and data_offsets"),
    "a length of a bool": (of(one(shape=[True]), EIGHT), "describe 'a' by dtype, shape and data_offsets"),
    "a length below 0": (of(one(shape=[-1, -1]), EIGHT), "describe 'a' by dtype, shape and data_offsets"),
    "a length of 2^60": (of(one(shape=[1 << 60]), EIGHT), "hold arrays that NumPy can have, got shape"),
    "a product of 2^64 + 1": (of(one(shape=[274177, 67280421310721], dtype="I8"), EIGHT), "hold arrays that NumPy can"),
    "a product that wraps to 8": (of(one(shape=[(1 << 61) + 1]), EIGHT), "hold arrays that NumPy can have"),
    "no element of 2^70": (of(one(shape=[0, 1 << 70], data_offsets=[0, 0])), "hold arrays that NumPy can have"),
    "65 axes": (of(one(shape=[1] * 65), EIGHT), "hold arrays that NumPy can have, got shape"),
    "too large for its offsets": (of(one(shape=[2]), EIGHT), "have data_offsets as far apart as dtype and shape say"),
    "too small for its offsets": (of(one(dtype="F32"), EIGHT), "have data_offsets as far apart as dtype and shape say"),
    "offsets of the file's": (of(one(shape=[2], data_offsets=[0, 16]), EIGHT), "hold 16 bytes of arrays, .*, got 8"),
    "an offset below 0": (of(one(data_offsets=[-8, 0]), EIGHT), "describe 'a' by dtype, shape and data_offsets"),
    "offsets that go back": (of(one(data_offsets=[8, 0]), EIGHT), "have data_offsets as far apart as"),
    "one offset": (of(one(data_offsets=[8]), EIGHT), "describe 'a' by dtype, shape and data_offsets"),
    "three offsets": (of(one(data_offsets=[0, 8, 8]), EIGHT), "describe 'a' by dtype, shape and data_offsets"),
    "offsets of 2^80": (of(one(data_offsets=[1 << 80, (1 << 80) + 8]), EIGHT), "hold arrays one after another"),
    "a gap in front": (of(one(data_offsets=[8, 16]), 2 * EIGHT), "hold arrays one after another, got 'a' at 8 where 0"),
    "a gap between": (of(two([0, 8], [16, 24]), 3 * EIGHT), "hold arrays one after another, got 'b' at 16 where 8"),
    "an overlap": (of(two([0, 8], [4, 12]), 2 * EIGHT), "hold arrays one after another, got 'b' at 4 where 8"),
    "one place for two": (of(two([0, 8], [0, 8]), EIGHT), "hold arrays one after another, got 'b' at 0 where 8"),
    "bytes behind": (of(one(), 2 * EIGHT), "hold 8 bytes of arrays, as its header says, got 16"),
    "bytes without arrays": (of({}, EIGHT), "hold 0 bytes of arrays, as its header says, got 8"),
    "a bool of 2": (of(one(dtype="BOOL", shape=[8]), bytes([0, 1, 0, 2, 0, 0, 0, 0])), "hold bytes of 0 and 1 in 'a', got 2"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEADERS)
def test_headers_that_are_none(kind: str, tmp_path: Path) -> None:
    data, rule = HEADERS[kind]
    (tmp_path / "x").write_bytes(data)
    tracemalloc.start()
    try:
        message = error_of(tmp_path / "x")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100 * len(data) + 1_000_000
    assert re.search(rule, message), message


def test_headers_that_are_unusual(tmp_path: Path) -> None:
    """Legal all the same: no padding, any order, spaces, arrays without elements where others are."""
    path = tmp_path / "x"
    header = two([8, 16], [0, 8]) | {"e": {"dtype": "I8", "shape": [0], "data_offsets": [8, 8]}}
    text = json.dumps(header, indent=1).encode() + b"\n"
    path.write_bytes(of(text, np.arange(2.0).tobytes(), fill=False))
    got = rk.load(path)
    assert (got["a"].tolist(), got["b"].tolist(), got["e"].shape) == ([1.0], [0.0], (0,))
    path.write_bytes(of({}))
    assert rk.load(path) == {}
    path.write_bytes(of({"__metadata__": {"format": "pt"}} | one(), EIGHT))
    assert list(rk.load(path)) == ["a"]


A = one()
TREES: dict[str, tuple[bytes, str]] = {
    "no version": (signed(of({"__metadata__": {"regkern.sha256": "0" * 64, "regkern": "2", "parts": "{}"}})), "be of version 1"),
    "no checksum": (of({"__metadata__": {"regkern": "1", "parts": '{"dict":{}}'}}), "be of version 1 with a checksum"),
    "no parts": (signed(of({"__metadata__": {"regkern.sha256": "0" * 64, "regkern": "1"}})), "be of version 1 with a"),
    "the checksum of another": (of_save({"dict": {"a": {"array": "a"}}}, A, EIGHT)[:-1] + b"x", "be as its checksum tells"),
    "a checksum elsewhere": (of({"__metadata__": {"regkern": "1", "parts": '{"dict":{}}', "regkern.sha256": "0" * 64}}), "be as its checksum tells"),
    "no JSON": (of_save("{"), "have parts that are JSON"),
    "deep JSON": (of_save("[" * 100_000 + "]" * 100_000), "have parts that are JSON"),
    "many digits": (of_save("9" * 10_000), "have parts that are JSON"),
    "NaN": (of_save("NaN"), "have parts that are JSON"),
    "a name twice": (of_save('{"dict":{"a":1,"a":2}}'), "have parts that are JSON.*a name stands twice"),
    "a list of parts": (of_save([]), r"hold parts by name, got \[\]"),
    "a number": (of_save("3"), "hold parts by name, got 3"),
    "an infinite number": (of_save('{"dict":{"a":1e999}}'), "hold finite numbers in JSON, got inf"),
    "101 deep": (of_save({"dict": {"a": json.loads("[" * 102 + "]" * 102)}}), "be at most 100 deep"),
    "tags in tags": (of_save('{"dict":{"a":' + '{"dict":{"a":' * 300 + "1" + "}}" * 300 + "}}"), "be at most 100 deep"),
    "no tag": (of_save({"dict": {"a": {}}}), "hold objects with one name"),
    "two tags": (of_save({"dict": {"a": {"tuple": [], "dict": {}}}}), "hold objects with one name"),
    "an unknown tag": (of_save({"dict": {"a": {"pickle": "x"}}}), "hold states of regkern, .*KeyError"),
    "a dict of a list": (of_save({"dict": []}), "hold states of regkern"),
    "a tuple of a string": (of_save({"dict": {"a": {"tuple": "abc"}}}), "hold states of regkern"),
    "items of a dict": (of_save({"dict": {"a": {"items": {"ab": 1}}}}), "hold states of regkern"),
    "items of strings": (of_save({"dict": {"a": {"items": ["ab"]}}}), "hold states of regkern"),
    "items of three": (of_save({"dict": {"a": {"items": [[1, 2, 3]]}}}), "hold states of regkern"),
    "a key twice": (of_save({"dict": {"a": {"items": [[1, 2], [True, 3]]}}}), "hold states of regkern.*a key stands twice"),
    "a key of a list": (of_save({"dict": {"a": {"items": [[[1], 2]]}}}), "hold states of regkern"),
    "a key of an array": (of_save({"dict": {"a": {"items": [[{"array": "a"}, 2]]}}}, A, EIGHT), "hold states of regkern"),
    "an int of words": (of_save({"dict": {"a": {"int": "ten"}}}), "hold states of regkern"),
    "an int of an int": (of_save({"dict": {"a": {"int": 10}}}), "hold states of regkern"),
    "a float of two bytes": (of_save({"dict": {"a": {"float": "0000"}}}), "hold states of regkern"),
    "a float of no hex": (of_save({"dict": {"a": {"float": "zz"}}}), "hold states of regkern"),
    "a float of a number": (of_save({"dict": {"a": {"float": 1.5}}}), "hold states of regkern"),
    "an array of no name": (of_save({"dict": {"a": {"array": "b"}}}, A, EIGHT), "hold states of regkern, .*KeyError"),
    "an array of a list": (of_save({"dict": {"a": {"array": ["a"]}}}, A, EIGHT), "hold states of regkern"),
    "an array twice": (of_save({"dict": {"a": {"array": "a"}, "b": {"array": "a"}}}, A, EIGHT), "hold states of regkern"),
    "an array left over": (of_save({"dict": {"a": 1}}, A, EIGHT), "say where each of its arrays belongs, got none for 'a'"),
    "a scalar of rank 1": (of_save({"dict": {"a": {"scalar": "a"}}}, A, EIGHT), "a scalar has rank 0"),
    "a penalty of no class": (of_save({"dict": {"a": {"penalty": ["Penalty", {"dict": {}}]}}}), "hold states of regkern"),
    "a penalty of another": (of_save({"dict": {"a": {"penalty": ["system", {"dict": {}}]}}}), "hold states of regkern"),
    "a penalty below 0": (of_save({"dict": {"a": {"penalty": ["L1", {"dict": {"strength": -1}}]}}}), "strength must be >= 0"),
    "a penalty of a list": (of_save({"dict": {"a": {"penalty": ["L1", [0.5]]}}}), "hold states of regkern"),
    "a penalty with more": (of_save({"dict": {"a": {"penalty": ["L1", {"dict": {"x": 1}}]}}}), "hold states of regkern"),
    "a penalty of three": (of_save({"dict": {"a": {"penalty": ["L1", {"dict": {}}, 1]}}}), "hold states of regkern"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TREES)
def test_parts_that_are_none(kind: str, tmp_path: Path) -> None:
    """Made up by someone who knows the checksum."""
    data, rule = TREES[kind]
    (tmp_path / "x").write_bytes(data)
    message = error_of(tmp_path / "x")
    assert re.search(rule, message, re.DOTALL), message


TREE = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.sampled_from(["L1", "a", "0x1"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["dict", "items", "tuple", "int", "float", "array", "scalar", "penalty", "x"]),
            inner,
            max_size=2,
        ),
    ),
    max_leaves=15,
)


@given(tree=TREE)
@settings(max_examples=300)
def test_any_tree_is_a_state_or_an_error(tree: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "tree"
    path.write_bytes(of_save(json.dumps({"dict": {"a": tree}}), A, EIGHT))
    loaded(path)


@given(data=st.data())
@settings(max_examples=300)
def test_any_header_is_a_file_or_an_error(data: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "header"
    number = st.one_of(st.integers(-2, 20), st.integers(), st.floats(), st.none(), st.booleans())
    entry = st.fixed_dictionaries(
        {
            "dtype": st.sampled_from([*layout.DTYPES, "O", 1]),
            "shape": st.lists(number, max_size=3),
            "data_offsets": st.lists(number, min_size=1, max_size=3),
        }
    )
    header = data.draw(st.dictionaries(st.text(max_size=3), st.one_of(entry, entry, number), max_size=3))
    path.write_bytes(of(header, data.draw(st.binary(max_size=20))))
    got = loaded(path) or {}
    assert sum(a.nbytes for a in got.values()) <= 20


CLAIMS = """
import resource, sys
import regkern as rk
rk.save(sys.argv[1] + ".other", a=1)
rk.load(sys.argv[1] + ".other")
resource.setrlimit(resource.RLIMIT_AS, (int(open("/proc/self/statm").read().split()[0]) * 4096 + 30_000_000,) * 2)
try:
    rk.load(sys.argv[1])
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize(
    "data", [HEADERS["a claim of 2^60"][0], of(one(shape=[1 << 27], data_offsets=[0, 1 << 30]), EIGHT)]
)
def test_claims_cost_no_memory(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", CLAIMS, str(tmp_path / "x")], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("load: "), done.stderr
