"""What callers may hand over: one rule and one wording for every kind of argument.

A check is told the head of its message, ``"function: argument"``, and the value; it returns what is kept, or says
``function: argument must rule, got value``: a TypeError of another kind, a ValueError of another range. Numbers that go to
a kernel are read by cpp/bindings/arrays.cc, by the same rules:

- a real number is what float() takes without reading text: numbers of Python and NumPy, arrays and tensors of rank 0, a
  Fraction, and what has ``__float__``; no bool, nothing complex, nothing masked;
- an int is what has ``__index__``, arrays and tensors of rank 0 too; no bool, and no float that happens to be whole;
- a flag is True or False, Python's or NumPy's; no number;
- a word is a str, one of a few: another kind is a TypeError, another word a ValueError, of one text;
- a shape is one length or a sequence of them, ints >= 0;
- nothing that has a mask is taken, as NumPy's functions would lose it, and nothing without an order where order matters.
"""

from __future__ import annotations

import copy
import functools
import math
import operator
import os
import reprlib
import sys
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

COUNTS_END = (1 << 63) - 1  # what is counted is below: one more still fits an int64
SEED_END = 1 << 64
MAX_DIMS = 64  # of NumPy
AS_IT_IS = "as regkern.save keeps it and np.savez and JSON do not"


# --- messages ---------------------------------------------------------------------------------------------------------

LONGEST = 100  # characters of a refused value

SHORT = reprlib.Repr()
SHORT.maxtuple = SHORT.maxstring = SHORT.maxlong = SHORT.maxother = LONGEST  # of lists six elements, of shapes all


def kind(value: Any) -> str:
    """What a message shows of a value of the wrong kind."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def text(value: Any) -> str:
    """What a message shows of a refused value: its repr where that is one short line, else the dtype and shape of an array,
    both ends of anything else.
    """
    array = isinstance(value, np.ndarray)
    try:
        said = repr(value) if array else SHORT.repr(value)
    except Exception:  # noqa: BLE001 (the caller's own, or of an int of more digits than Python prints)
        return f"an object of type {type(value).__name__}"
    line = " ".join(said.split())
    if len(line) <= LONGEST and not (array and "\n" in said):
        return line
    return f"an ndarray of {value.dtype}, shape {value.shape}" if array else f"{line[:60]} ... {line[-35:]}"


# --- numbers ----------------------------------------------------------------------------------------------------------


def real(head: str, value: Any) -> float:
    """Any real number, as a float: infinite and NaN too."""
    if type(value) is float:
        return value
    if not is_real(value):
        raise TypeError(f"{head} must be a real number, got {text(value)}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{head} must fit a float64, got a number that does not") from None
    except (TypeError, ValueError):
        raise TypeError(f"{head} must be a real number, got {text(value)}") from None


def is_real(value: Any) -> bool:
    """Whether a value is one real number, as far as its kind says."""
    if isinstance(value, bool | complex) or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        return False
    return _is_one(value)


def is_half(dtype: np.dtype[Any]) -> bool:
    """Whether numbers take two bytes: bfloat16 (of ml_dtypes) or float16."""
    return bool(dtype == np.float16 or dtype.name == "bfloat16")


def arithmetic(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which numbers of a dtype are calculated with: float32 for halves."""
    return np.dtype(np.float32) if is_half(dtype) else dtype


def is_masked(value: Any) -> bool:
    """Whether NumPy's functions would lose the mask of a value."""
    return isinstance(value, np.ma.MaskedArray)


def _is_one(value: Any) -> bool:
    """Whether an array or tensor is one number: of rank 0, of a real dtype, without a mask. What is neither is one."""
    dtype = getattr(value, "dtype", None)
    if is_masked(value) or getattr(value, "ndim", 0) != 0:
        return False
    if isinstance(dtype, np.dtype):
        return dtype.kind in "fiu" or is_half(dtype)
    return not any(kind in str(dtype) for kind in ("bool", "complex"))


def finite(head: str, value: Any) -> float:
    number = real(head, value)
    if not math.isfinite(number):
        raise ValueError(f"{head} must be finite, got {text(value)}")
    return number


def nonnegative(head: str, value: Any) -> float:
    """>= 0 and finite."""
    number = real(head, value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{head} must be >= 0 and finite, got {text(value)}")
    return number


def nonnegative_or_inf(head: str, value: Any) -> float:
    """>= 0, Inf too."""
    number = real(head, value)
    if not number >= 0:
        raise ValueError(f"{head} must be >= 0, got {text(value)}")
    return number


def above(head: str, value: Any, bound: float = 0) -> float:
    """> bound and finite."""
    number = real(head, value)
    if not bound < number < math.inf:
        raise ValueError(f"{head} must be > {bound:g} and finite, got {text(value)}")
    return number


def probability(head: str, value: Any) -> float:
    """In [0, 1]."""
    number = real(head, value)
    if not 0 <= number <= 1:
        raise ValueError(f"{head} must be in [0, 1], got {text(value)}")
    return number


def below_one(head: str, value: Any) -> float:
    """In [0, 1)."""
    number = real(head, value)
    if not 0 <= number < 1:
        raise ValueError(f"{head} must be in [0, 1), got {text(value)}")
    return number


def integer(head: str, value: Any, least: int | None = None, end: int | None = None) -> int:
    """An int, >= least and < end where these are given."""
    if not is_integer(value):
        raise TypeError(f"{head} must be an int, got {text(value)}")
    number = operator.index(value)
    if end is not None and not (least or 0) <= number < end:
        raise ValueError(f"{head} must be in [{least or 0}, {end}), got {text(value)}")
    if least is not None and number < least:
        raise ValueError(f"{head} must be >= {least}, got {text(value)}")
    return number


def is_integer(value: Any) -> bool:
    """Whether a value is one int."""
    if type(value) is int:
        return True
    if isinstance(value, bool) or not _is_one(value):
        return False
    try:
        operator.index(value)
    except (TypeError, ValueError):
        return False
    return True


def integer64(head: str, value: Any) -> int:
    """What a seed, a stream and an epoch are."""
    number = integer(head, value)
    if not 0 <= number < SEED_END:
        raise ValueError(f"{head} must be in [0, 2**64), got {text(value)}")
    return number


def count(head: str, value: Any) -> int:
    """An int that fits an int64 and can be counted up."""
    return integer(head, value, 0, COUNTS_END)


def flag(head: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{head} must be True or False, got {text(value)}")
    return bool(value)


def choice(head: str, value: Any, options: Iterable[str | None]) -> Any:
    """One of a few words, or None where that is among them."""
    options = tuple(options)
    if isinstance(value, str | None):
        for option in options:
            if value == option:
                return option
    *most, last = map(repr, options)
    rule = f"{', '.join(most)} or {last}" if most else last
    kind = ValueError if isinstance(value, str) else TypeError
    raise kind(f"{head} must be {rule}, got {text(value)}")


def is_iterable(value: Any) -> bool:
    """Whether a value holds others: no text, and no array of rank 0 or with a mask."""
    words = isinstance(value, str | bytes)
    return isinstance(value, Iterable) and not words and not is_masked(value) and getattr(value, "ndim", 1) > 0


def is_listed(value: Any) -> bool:
    """Whether a value is several in an order."""
    return is_iterable(value) and not isinstance(value, AbstractSet | Mapping)


def several(head: str, value: Any, rule: str, lengths: tuple[int, ...]) -> tuple[Any, ...]:
    """As many values as one of ``lengths`` says."""
    if not hasattr(value, "__len__") or not is_listed(value):
        raise TypeError(f"{head} must be {rule}, got {text(value)}")
    if len(value) not in lengths:
        raise ValueError(f"{head} must be {rule}, got {text(value)}")
    return tuple(value)


def plain(head: str, value: Any) -> float:
    """A finite number as Python's: an int stays one."""
    number = finite(head, value)
    return operator.index(value) if is_integer(value) else number


def held(head: str, value: float, dtype: np.dtype[Any]) -> None:
    """A finite number that an array of a dtype can hold: as it is, but that floats are rounded."""
    if dtype.kind == "b":
        rule, fits = "0 or 1", value in (0, 1)
    elif dtype.kind in "iu":
        ends = np.iinfo(dtype)
        rule, fits = (
            f"a whole number in [{ends.min}, {ends.max}]",
            value == value // 1 and ends.min <= value <= ends.max,
        )
    else:
        with np.errstate(over="ignore"):
            rule, fits = "within its range", bool(np.isfinite(np.asarray(value).astype(dtype)))
    if not fits:
        raise ValueError(f"{head} must be {rule} for {dtype}, got {text(value)}")


# --- axes, shapes, arrays ---------------------------------------------------------------------------------------------


def axis(head: str, value: Any, of: str, shape: tuple[int, ...]) -> int:
    """The number of an axis of an array, counted from the front: in [0, rank)."""
    number = integer(head, value)
    if not -len(shape) <= number < len(shape):
        raise ValueError(f"{head} must be an axis of {of} with shape {shape}, got {text(value)}")
    return number % len(shape)


def axis_number(head: str, value: Any) -> int:
    """The number of an axis of arrays that are not known yet."""
    return integer(head, value, -MAX_DIMS, MAX_DIMS)


def lengths(head: str, value: Any, item: int = 1) -> tuple[int, ...]:
    """A shape, in Python's ints: one length or several, whose products do not wrap.

    Refused where NumPy has no array of it, ``item`` bytes each.
    """
    if not is_integer(value) and not (hasattr(value, "__len__") and is_listed(value) and all(map(is_integer, value))):
        raise TypeError(f"{head} must be an int or a tuple of ints, got {text(value)}")
    made = (operator.index(value),) if is_integer(value) else tuple([operator.index(n) for n in value])
    if made and min(made) < 0:
        raise ValueError(f"{head} must be >= 0, got {text(value)}")
    if len(made) > MAX_DIMS:
        raise ValueError(f"{head} must have at most {MAX_DIMS} lengths, got {len(made)}")
    if math.prod([n or 1 for n in made]) * item > sys.maxsize:
        raise ValueError(f"{head} must make an array of less than 2**63 bytes, got {text(value)}")
    return made


def shape(function: str, value: Any, item: int = 1) -> tuple[int, ...]:
    return lengths(f"{function}: shape", value, item)


def float_dtype(head: str, value: Any) -> np.dtype[Any]:
    """float32 or float64, by whatever name NumPy has for them."""
    try:
        made = np.dtype(value if isinstance(value, str | type | np.dtype) else object)
    except (TypeError, ValueError):
        made = np.dtype(object)
    if made not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"{head} must be float32 or float64, got {text(value)}")
    return made


def reals(head: str, value: Any) -> NDArray[np.float64]:
    """Real numbers of any shape in float64; one number has rank 0."""
    if is_masked(value):
        raise TypeError(f"{head} must be without a mask, got {type(value).__name__}")
    if is_real(value):
        return np.asarray(real(head, value))
    try:
        array = np.asarray(value)
    except ValueError:  # ragged
        array = np.asarray(None)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{head} must be a real number or an array of real numbers, got {text(value)}")
    return array.astype(np.float64, copy=False)


def integers(head: str, value: Any) -> Array:
    """Ints of any shape; one has rank 0."""
    if is_integer(value):
        return np.asarray(operator.index(value))
    array = unmasked(head, value)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{head} must be an int or an array of ints, got {text(value)}")
    return array


def require_ndarray(head: str, value: Any) -> None:
    """What is written into."""
    if not isinstance(value, np.ndarray) or is_masked(value):
        rule = "an ndarray without a mask" if is_masked(value) else "an ndarray"
        raise TypeError(f"{head} must be {rule}, got {type(value).__name__}")


def unmasked(head: str, value: Any) -> Array:
    """An array of what is no masked one, whose mask would be lost, and no ragged list."""
    if is_masked(value):
        raise TypeError(f"{head} must be an ndarray without a mask, got {type(value).__name__}")
    try:
        return np.asarray(value)
    except ValueError:
        raise TypeError(f"{head} must be an array, got a ragged list") from None


def real_array(head: str, value: Any, shape: tuple[int, ...] | None = None) -> Array:
    """An array of real numbers, of any dtype, and of rank 1 where its shape is not given."""
    if value is None or is_masked(value):
        raise TypeError(f"{head} must be an array without a mask, got {type(value).__name__}")
    try:
        array = np.asarray(value)
    except ValueError:
        raise TypeError(f"{head} must be an array of numbers, got a ragged list") from None
    except (TypeError, RuntimeError) as error:  # of a tensor: of another dtype, with a graph behind it
        dtype = getattr(value, "dtype", "")
        raise TypeError(f"{head} must be an array of numbers, got {type(value).__name__} of {dtype}: {error}") from None
    if array.dtype.kind not in "fiu" and not is_half(array.dtype):
        raise TypeError(f"{head} must be real numbers, got {array.dtype}")
    if shape is None and array.ndim != 1:
        raise ValueError(f"{head} must have rank 1, got shape {array.shape}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{head} must have shape {shape}, got {array.shape}")
    return array


# --- random numbers, saved states -------------------------------------------------------------------------------------


def sparse_indices(function: str, X: Any) -> None:
    """Refuse CSC and CSR with indices of places that are none, where scipy would read and write; X may be any other."""
    form = getattr(X, "format", None)
    if form not in ("csc", "csr") or not X.nnz:
        return
    indices, rows = X.indices[: X.nnz], form == "csc"
    end = X.shape[0 if rows else 1]
    for index in (indices.min(), indices.max()):
        if not 0 <= index < end:
            axis = "row" if rows else "column"
            raise ValueError(f"{function}: X must have {axis} numbers from 0 to {end - 1}, got {index}")


def seed(function: str, rng: Any) -> int:
    """The 64-bit Philox key that ``rng=`` means, after Scientific Python's SPEC 7.

    An int is the key itself; a ``np.random.Generator`` (or what ``np.random.default_rng`` accepts: a
    SeedSequence, a BitGenerator) gives one by a draw; None takes one from the operating system.
    """
    key = seed_or_draw(function, rng)
    return key if isinstance(key, int) else key()


def seed_or_draw(function: str, rng: Any) -> int | Callable[[], int]:
    """The same for who may not need it: the key, or what draws it, to be called when nothing else can be wrong."""
    if type(rng) is int and 0 <= rng < SEED_END:
        return rng
    if type(rng) is np.random.Generator:
        return functools.partial(_key_of, rng)
    rng = source(function, rng)
    if rng is None:
        return _key_of_the_system
    if isinstance(rng, int):
        return rng
    return functools.partial(_key_of, np.random.default_rng(rng))


def source(function: str, rng: Any) -> Any:
    """What ``rng=`` may be, kept to draw seeds from it later; an int becomes Python's."""
    if is_integer(rng):
        return integer64(f"{function}: rng", rng)
    if rng is None or isinstance(rng, np.random.Generator | np.random.SeedSequence | np.random.BitGenerator):
        return rng
    rule = "be an int, a np.random.Generator, SeedSequence or BitGenerator, or None"
    raise TypeError(f"{function}: rng must {rule}, got {text(rng)}")


def _key_of_the_system() -> int:
    return int.from_bytes(os.urandom(8), "little")


# Of 64 bits: a raw number is what Generator.integers makes of the whole range, in a tenth of its time.
_WIDE = (np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64)


def _key_of(rng: np.random.Generator) -> int:
    if type(rng) is np.random.Generator and type(bits := rng.bit_generator) in _WIDE:
        return bits.random_raw()
    return int(rng.integers(0, SEED_END, dtype=np.uint64))


def random_state(head: str, rng: Any) -> Any:
    """What a resumed run needs of an ``rng=``: the seed, or the state of the generator."""
    if rng is None or is_integer(rng):
        return rng if rng is None else operator.index(rng)
    if isinstance(rng, np.random.Generator):
        return rng.bit_generator.state
    raise TypeError(f"{head} must be an int, a np.random.Generator or None to be saved, got {text(rng)}")


def generator_state(head: str, rng: np.random.Generator, state: Any) -> Any:
    """A state that the bit generator of ``rng`` takes, as a copy of it has read it."""
    bits = copy.deepcopy(rng.bit_generator)
    try:
        bits.state = state
        taken: Any = bits.state
        position, end = 0, 0
        if isinstance(bits, np.random.MT19937):
            position, end = taken["state"]["pos"], 624
        elif isinstance(bits, np.random.Philox):
            position, end = taken["buffer_pos"], 4
        if not 0 <= position <= end:  # NumPy would read there, whatever it is
            raise ValueError(f"a position must be in [0, {end}], got {position}")
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        kind = type(bits).__name__
        raise ValueError(f"{head} must be a state of {kind}, got another: {type(error).__name__}: {error}") from None
    return taken


def unpacked(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state without arrays among its fields, which ``np.savez`` makes of numbers, lists and dicts."""
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in state.items()}


def require_unpacked(function: str, state: Mapping[str, Any]) -> None:
    if packed := [name for name, value in state.items() if isinstance(value, np.ndarray)]:
        raise TypeError(f"{function}: state must be without arrays in it, {AS_IT_IS}, got one in {str(packed[0])!r}")


def fields(function: str, state: Any, names: Iterable[str], optional: str = "") -> list[Any]:
    """The values of a state dict, which must hold exactly ``names``, but that ``optional`` may be missing: then None."""
    if not isinstance(state, Mapping):
        raise TypeError(f"{function}: state must be a mapping, got {type(state).__name__}")
    names = list(names)
    if set(state) | {optional} != {*names, optional}:
        raise ValueError(f"{function}: keys must be {sorted(names)}, got {sorted(map(str, state))}")
    return [state.get(name) for name in names]


def is_ours(kind: type) -> bool:
    """Whether a class is the package's: all of its attributes are known. Subclasses of users have some of their own."""
    return kind.__module__.partition(".")[0] == "regkern"
