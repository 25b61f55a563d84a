"""A file written as a whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, BinaryIO


def replace(path: str, write: Callable[[BinaryIO], object]) -> None:
    """Have ``write`` make the file at ``path``: whatever happens, there is the old one or the new one.

    It is written beside the old one under another name, synced, and takes its place by ``rename``. What a plain ``open``
    does holds here too: symbolic links are followed, the mode and the owner of an old file stay, and one that must not be
    written is refused.
    """
    target = os.path.realpath(path)
    try:
        if not os.path.basename(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        old = _old(target)
        with _folder(os.path.dirname(target)) as folder:
            _replace(os.path.basename(target), folder, old, write)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def _old(target: str) -> os.stat_result | None:
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(old.st_mode) and not stat.S_ISDIR(old.st_mode):  # a device, which must not be replaced
        raise ValueError(f"save: {target!r} must be a regular file or none yet, got a file of another kind")
    open(target, "r+b").close()  # or an error: it is read-only, or a directory
    return old


@contextlib.contextmanager
def _folder(path: str) -> Iterator[int]:
    """A descriptor, so that all happens in one folder, wherever that is moved."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield folder
    finally:
        os.close(folder)


def _replace(name: str, folder: int, old: os.stat_result | None, write: Callable[[BinaryIO], object]) -> None:
    beside = f".regkern-{os.urandom(8).hex()}.tmp"
    opener = partial(os.open, mode=0o666, dir_fd=folder)
    try:
        with open(beside, "xb", opener=opener) as file:
            if old is not None:
                _take_after(file.fileno(), old)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside, dir_fd=folder)
        raise
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # of file systems that sync no folders
            raise


def _take_after(file: int, old: os.stat_result) -> None:
    """Give a new file the owner, where that is allowed, and the mode of the old one."""
    new: Any = os.fstat(file)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with contextlib.suppress(PermissionError):
            os.fchown(file, old.st_uid, old.st_gid)
    os.fchmod(file, old.st_mode & 0o777)
