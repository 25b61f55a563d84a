"""The layout of safetensors: 8 bytes say how long the header is, the header says where each array is, and arrays follow.

A header is JSON: ``{"__metadata__": {name: text}, name: {"dtype": …, "shape": […], "data_offsets": [begin, end]}}``, filled
up with spaces to a multiple of 8 bytes. Arrays are little-endian, in C order, without gaps or overlaps.

What ``write`` makes begins with the checksum: the SHA-256 of the file in which its own 64 digits are zeros.
"""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
import sys
from collections.abc import Iterator, Mapping
from io import BufferedReader
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from regkern import _checks as check

Array = NDArray[Any]

DTYPES = {
    "BOOL": "bool",
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
}
CODES = {name: code for code, name in DTYPES.items()}
METADATA = "__metadata__"
LONGEST = 100_000_000  # bytes of a header, as in safetensors' own reader
BLOCK = 1 << 20  # bytes that are hashed while they are in the cache
CHECKSUM = "regkern.sha256"  # first of the metadata
HEAD = f'{{"{METADATA}":{{"{CHECKSUM}":"'.encode()
DIGITS = slice(8 + len(HEAD), 8 + len(HEAD) + 64)  # of the checksum, in the file


class Fault(Exception):
    """What a file must and does not: the rest of a message."""


def brief(value: Any) -> str:
    """What may be of any length, in a message."""
    try:
        return reprlib.repr(value)
    except ValueError:  # from Python, of thousands of digits
        return "a number of many digits"


def write(file: BinaryIO, arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write arrays whose dtypes are among ``CODES``; the widest come first, so that all are aligned."""
    header: dict[str, Any] = {METADATA: {CHECKSUM: "0" * 64, **metadata}}
    ordered = sorted(arrays.items(), key=lambda item: -item[1].itemsize)
    end = 0
    for name, a in ordered:
        begin, end = end, end + a.nbytes
        header[name] = {"dtype": CODES[a.dtype.name], "shape": a.shape, "data_offsets": (begin, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LONGEST:
        raise Fault(f"need at most {LONGEST} bytes for what is no array, got {len(text)}")
    head = len(text).to_bytes(8, "little") + text
    digest = hashlib.sha256(head)
    file.write(head)
    for _, a in ordered:
        for block in _blocks(a):
            digest.update(block)
            file.write(block)
    file.seek(DIGITS.start)
    file.write(digest.hexdigest().encode())


def _blocks(a: Array) -> Iterator[memoryview]:
    """The elements in C order and little-endian, some at a time."""
    nditer: Any = np.nditer  # whose annotations know no "contig"
    blocks = nditer(
        a,
        ["external_loop", "buffered", "zerosize_ok"],
        ["readonly", "contig"],
        op_dtypes=[a.dtype.newbyteorder("<")],
        casting="equiv",
        order="C",
        buffersize=BLOCK // a.itemsize,
    )
    for block in blocks:
        yield block.view(np.uint8).data


def read(file: BufferedReader, size: int) -> tuple[dict[str, Array], dict[str, str]]:
    """Arrays and metadata of a file of ``size`` bytes; a ``Fault`` if it is not whole.

    No more memory is asked for than the file has. A checksum is compared where ``HEAD`` is what the header begins with.
    """
    first = file.read(8)
    length = int.from_bytes(first, "little")
    if size < 8 or length > min(size - 8, LONGEST):
        raise Fault(f"begin with the length of a header that it holds, got {size} bytes that begin with {first!r}")
    text = file.read(length)
    entries = _json(text)
    metadata = entries.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise Fault(f"have metadata that are strings, got {brief(metadata)}")
    places = _places(entries, size - 8 - length)
    head = bytearray(first + text)
    digest = None
    if text.startswith(HEAD):
        head[DIGITS] = b"0" * 64
        digest = hashlib.sha256(head)
    arrays: dict[str, Array] = {}
    for name, (dtype, shape) in places.items():
        arrays[name] = a = np.empty(shape, dtype)
        _fill(file, a.reshape(-1).view(np.uint8), digest)
        if dtype == bool and a.size and a.view(np.uint8).max() > 1:
            raise Fault(f"hold bytes of 0 and 1 in {name!r}, got {a.view(np.uint8).max()}")
    told = metadata.get(CHECKSUM)
    if told is not None and (digest is None or digest.hexdigest() != told):
        raise Fault(f"be as its checksum tells, {brief(told)}, got another file")
    return {name: a.astype(a.dtype.newbyteorder("="), copy=False) for name, a in arrays.items()}, metadata


def _json(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise Fault(f"begin with a header that is a JSON object, got {text[:16]!r}")
    try:
        entries = parsed(text.decode())
    except (ValueError, RecursionError) as error:
        raise Fault(f"have a header that is JSON, got one that is not: {error}") from None
    assert isinstance(entries, dict)  # JSON that begins like one
    return entries


def parsed(text: str) -> Any:
    """JSON, in which no name stands twice and no number is NaN or infinite."""
    return json.loads(text, object_pairs_hook=_named_once, parse_constant=_no_number)


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    named = dict(pairs)
    if len(named) != len(pairs):
        raise ValueError("a name stands twice")
    return named


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")


def _places(entries: dict[str, Any], size: int) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Dtype and shape of each array in the order of the file, whose arrays must fill ``size`` bytes one after another."""
    spans = []
    for name, entry in entries.items():
        rule = f"describe {brief(name)} by dtype, shape and data_offsets, got {brief(entry)}"
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise Fault(rule)
        code, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not (isinstance(code, str) and isinstance(shape, list) and isinstance(span, list) and len(span) == 2):
            raise Fault(rule)
        if not all(type(n) is int and n >= 0 for n in (*shape, *span)):
            raise Fault(rule)
        dtype = _dtype(name, code)
        if len(shape) > check.MAX_DIMS or math.prod([n or 1 for n in shape]) * dtype.itemsize > sys.maxsize:
            raise Fault(f"hold arrays that NumPy can have, got shape {brief(shape)} of {brief(name)}")
        if math.prod(shape) * dtype.itemsize != span[1] - span[0]:
            raise Fault(f"have data_offsets as far apart as dtype and shape say, got {brief(entry)}")
        spans.append((span, name, dtype, tuple(shape)))
    spans.sort(key=lambda one: one[0])
    end = 0
    for span, name, _, _ in spans:
        if span[0] != end:
            raise Fault(f"hold arrays one after another, got {brief(name)} at {span[0]} where {end} is due")
        end = span[1]
    if end != size:
        raise Fault(f"hold {end} bytes of arrays, as its header says, got {size}")
    return {name: (dtype, shape) for _, name, dtype, shape in spans}


def _dtype(name: str, code: str) -> np.dtype[Any]:
    if code not in DTYPES:
        raise Fault(f"have dtypes among {', '.join(DTYPES)}, got {brief(code)} of {brief(name)}")
    if code != "BF16":
        return np.dtype(DTYPES[code]).newbyteorder("<")
    try:
        import ml_dtypes  # noqa: PLC0415 (optional)
    except ImportError:
        raise Fault(f"have dtypes of NumPy where ml_dtypes is not installed, got BF16 of {brief(name)}") from None
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def _fill(file: BufferedReader, memory: NDArray[np.uint8], digest: Any) -> None:
    for begin in range(0, memory.size, BLOCK):
        block = memory[begin : begin + BLOCK]
        if file.readinto(block.data) != block.size:
            raise Fault("be left alone while it is read, got one that became shorter")
        if digest is not None:
            digest.update(block)
