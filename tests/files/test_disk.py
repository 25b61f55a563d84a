"""There is the old file or the new one: after errors, interrupts and kills, with other writers, through links."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import regkern as rk
from interrupting import interrupted
from regkern.files import atomic

BIG = {"a": np.arange(300_000.0), "n": 2}


def only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_has_the_mode_that_open_gives(tmp_path: Path) -> None:
    for mask in (0o022, 0o077, 0o002):
        before = os.umask(mask)
        try:
            rk.save(tmp_path / "x", a=1)
            (tmp_path / "plain").write_bytes(b"")
        finally:
            os.umask(before)
        assert mode(tmp_path / "x") == mode(tmp_path / "plain") == 0o666 & ~mask
        (tmp_path / "x").unlink()
        (tmp_path / "plain").unlink()


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o664, 0o755, 0o606])
def test_an_old_file_keeps_its_mode(bits: int, tmp_path: Path) -> None:
    path = tmp_path / "x"
    rk.save(path, a=1)
    path.chmod(bits)
    rk.save(path, a=2)
    assert mode(path) == bits
    assert rk.load(path) == {"a": 2}
    assert only(tmp_path) == ["x"]


def test_a_secret_is_never_open_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "x", []
    rk.save(path, a=1)
    path.chmod(0o600)
    monkeypatch.setattr(os, "fsync", lambda fd: seen.append(stat.S_IMODE(os.fstat(fd).st_mode)))
    rk.save(path, a=2)
    assert seen[0] == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_an_old_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "x"
    rk.save(path, a=1)
    os.chown(path, 12345, 54321)
    rk.save(path, a=2)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    real, link, second = tmp_path / "deep" / "real", tmp_path / "link", tmp_path / "second"
    link.symlink_to(Path("deep") / "real")
    second.symlink_to(link)
    for n, path in enumerate([link, real, second]):  # first of all to where nothing is
        rk.save(path, n=n)
        assert rk.load(real) == rk.load(link) == {"n": n}
    assert link.is_symlink()
    assert second.is_symlink()
    assert only(tmp_path) == ["deep", "link", "second"]
    assert only(tmp_path / "deep") == ["real"]
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match=r"Too many levels of symbolic links: '.*loop'"):
        rk.save(tmp_path / "loop", a=1)


def test_a_hard_link_keeps_the_old_file(tmp_path: Path) -> None:
    rk.save(tmp_path / "x", a=1)
    os.link(tmp_path / "x", tmp_path / "y")
    rk.save(tmp_path / "x", a=2)
    assert (rk.load(tmp_path / "x"), rk.load(tmp_path / "y")) == ({"a": 2}, {"a": 1})


def test_what_open_refuses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    for path, error in [
        (tmp_path, IsADirectoryError),
        (f"{tmp_path}/new/", IsADirectoryError),
        (tmp_path / "none" / "x", FileNotFoundError),
        (tmp_path / "file" / "x", NotADirectoryError),
        (tmp_path / ("x" * 300), OSError),
        ("", OSError),
    ]:
        with pytest.raises(error) as caught:
            rk.save(path, a=1)
        assert caught.value.filename == str(path)
    for path, error in [(tmp_path, IsADirectoryError), (tmp_path / "none", FileNotFoundError)]:
        with pytest.raises(error):
            rk.load(path)
    assert only(tmp_path) == ["file"]
    rk.save(tmp_path / ("x" * 255), a=1)  # as long as names may be


def test_devices_pipes_and_sockets_stay_what_they_are(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/full")
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(tmp_path):
        listening.bind("socket")
        before = only(tmp_path)
        for path in ["pipe", "link", "socket", "/dev/full", "/dev/null"]:
            rdev = os.stat(path).st_rdev
            with pytest.raises(
                ValueError, match=r"^save: '.*' must be a regular file or none yet, got a file of another "
            ):
                rk.save(path, a=1)
            assert os.stat(path).st_rdev == rdev
        for path in ["pipe", "/dev/full", "/dev/zero"]:
            with pytest.raises(ValueError, match=rf"^load: '{path}' must be a regular file, got one of another kind$"):
                rk.load(path)
    assert only(tmp_path) == before


AS_NOBODY = """
import os, sys
sys.path[:0] = {path!r}
import numpy.random, regkern as rk
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
for path in sys.argv[1:]:
    try:
        rk.save(path, a=2)
        print("saved")
    except PermissionError as error:
        print(error.filename == path)
"""


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that all users reach, as those of pytest are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def test_what_may_not_be_written_is_refused(public: Path) -> None:
    """A folder, where a file beside the old one cannot be made, and a file, which a rename would replace all the same."""
    open_folder, shut = public / "open", public / "shut"
    paths = []
    for folder in (open_folder, shut):
        folder.mkdir()
        rk.save(folder / "x", a=1)
        (folder / "x").chmod(0o666)
        paths.append(folder / "x")
    rk.save(open_folder / "read-only", a=1)
    (open_folder / "read-only").chmod(0o444)
    open_folder.chmod(0o777)
    shut.chmod(0o555)
    program = AS_NOBODY.format(path=[p for p in sys.path if p])
    arguments = [*paths, open_folder / "read-only", shut / "new"]
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    shut.chmod(0o755)
    assert done.stdout.split() == ["saved", "True", "True", "True"], done.stderr
    assert [rk.load(path) for path in [*paths, open_folder / "read-only"]] == [{"a": 2}, {"a": 1}, {"a": 1}]
    assert only(open_folder) == ["read-only", "x"]
    assert only(shut) == ["x"]


FULL = """
import resource, sys
import numpy as np, regkern as rk
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    rk.save(sys.argv[1], a=np.zeros(100_000), b=1)
except OSError as error:
    print(error.errno, error.filename)
else:
    print("saved")
"""


@pytest.mark.parametrize("limit", [0, 1, 100, 4096, 8192, 700_000, 800_000, 900_000])
def test_a_full_disk_leaves_the_old_file(limit: int, tmp_path: Path) -> None:
    path = tmp_path / "x"
    rk.save(path, a=1)
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), str(limit)], capture_output=True, text=True, check=False
    )
    if limit == 900_000:
        assert done.stdout == "saved\n", done.stderr
        assert rk.load(path)["b"] == 1
    else:
        assert done.stdout == f"27 {path}\n", done.stderr
        assert rk.load(path) == {"a": 1}
    assert only(tmp_path) == ["x"]


@pytest.mark.parametrize("step", ["write", "fsync", "rename", "fchmod", "fsync of the folder"])
def test_an_error_of_the_system_leaves_the_old_file(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    rk.save(path, a=1)
    calls: list[str] = []

    def fail(*args: Any, **options: Any) -> None:
        calls.append("failed")
        raise OSError(28, "No space left on device")

    if step == "write":
        monkeypatch.setattr(rk.files.layout, "write", fail)
    elif step == "fsync of the folder":
        sync = os.fsync
        monkeypatch.setattr(os, "fsync", lambda fd: fail() if stat.S_ISDIR(os.fstat(fd).st_mode) else sync(fd))
    else:
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match=r"^\[Errno 28\] No space left on device: '.*x'$"):
        rk.save(path, a=2)
    assert calls == ["failed"]
    monkeypatch.undo()
    assert rk.load(path) == ({"a": 2} if step == "fsync of the folder" else {"a": 1})
    assert only(tmp_path) == ["x"]


def test_what_is_written_is_on_the_disk_before_it_has_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    rk.save(path, a=1)
    calls: list[Any] = []
    sync, rename = os.fsync, os.rename

    def noted_sync(fd: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else os.fstat(fd).st_size)
        sync(fd)

    def noted_rename(*args: Any, **options: Any) -> None:
        calls.append("rename")
        rename(*args, **options)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "rename", noted_rename)
    rk.save(path, **BIG)
    assert calls == [path.stat().st_size, "rename", "folder"]


def test_a_file_system_that_syncs_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def refuse(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(fd)

    monkeypatch.setattr(os, "fsync", refuse)
    rk.save(tmp_path / "x", a=1)
    assert rk.load(tmp_path / "x") == {"a": 1}


def every_place(call: Callable[[], Any]) -> Iterator[int]:
    k = 1
    while interrupted(call, k, (atomic.__file__, rk.files.layout.__file__)):
        yield k
        k += 1
    assert k > 100


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_leaves_the_old_file_or_the_new_and_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "x"
    rk.save(path, a=1)
    found = set()
    for _ in every_place(lambda: rk.save(path, a=np.ones(3), b=2)):
        got = rk.load(path)
        found.add(len(got))
        assert only(tmp_path) == ["x"]
        if len(got) == 2:
            rk.save(path, a=1)
    assert found == {1, 2}


WRITER = """
import sys
import numpy as np, regkern as rk
path, own = sys.argv[1], int(sys.argv[2])
n = 0
while n != int(sys.argv[3]):
    n += 1
    rk.save(path, version=n, own=own, array=np.full(200_000, n * own, np.float32), nested=[{"n": np.full(3, n * own)}])
    if n == 1:
        print("ready", flush=True)
"""


def writer(path: Path, own: int, times: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), str(own), str(times)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def whole(path: Path) -> int:
    """The number of a version, all of which is there."""
    got = rk.load(path)
    product = got["version"] * got["own"]
    assert (got["array"] == product).all()
    assert got["nested"][0]["n"].tolist() == [product] * 3
    return got["version"]


KILLED = """
import os, random, signal, sys, time
import numpy as np, regkern as rk
folder, = sys.argv[1:]
path = folder + "/x"
def save(n):
    rk.save(path, version=n, array=np.full(50_000, n, np.float32), nested=[{"n": np.full(3, n)}])
random.seed(4)
save(0)
seen, left = [], 0
for life in range(1, 151):
    before = os.stat(path).st_ino
    child = os.fork()
    if child == 0:
        for n in range(life * 10_000, (life + 1) * 10_000):
            save(n)
    while os.stat(path).st_ino == before:
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.01))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    got = rk.load(path)
    assert (got["array"] == got["version"]).all() and got["nested"][0]["n"].tolist() == [got["version"]] * 3
    seen.append(got["version"])
    beside = [name for name in os.listdir(folder) if name != "x"]
    assert len(beside) <= 1 and all(name.startswith(".regkern-") for name in beside), beside
    left += len(beside)
    for name in beside:
        os.unlink(folder + "/" + name)
assert seen == sorted(set(seen))
print(left > 10)
"""


def test_a_kill_at_any_moment_leaves_one_of_the_versions(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


def test_writers_at_one_path_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "x"
    children = [writer(path, own, 40) for own in (1, 3)]
    seen = 0
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    while any(child.poll() is None for child in children):
        whole(path)
        seen += 1
    assert [child.communicate()[1] for child in children] == ["", ""]
    assert whole(path) == 40
    assert seen > 0
    assert only(tmp_path) == ["x"]


def test_a_file_that_is_replaced_or_cut_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was opened is read to its end; one that becomes shorter is damaged."""
    path = tmp_path / "x"
    rk.save(path, **BIG)
    read = rk.files.layout.read

    def late(change: Callable[[], Any]) -> Callable[..., Any]:
        def slow(file: Any, size: int) -> Any:
            change()
            return read(file, size)

        return slow

    monkeypatch.setattr(rk.files.layout, "read", late(lambda: rk.save(path, n=3)))
    assert rk.load(path)["n"] == 2
    rk.save(path, **BIG)
    monkeypatch.setattr(rk.files.layout, "read", late(lambda: os.truncate(path, 100_000)))
    with pytest.raises(
        ValueError, match=r"^load: '.*x' must be left alone while it is read, got one that became shorter$"
    ):
        rk.load(path)
