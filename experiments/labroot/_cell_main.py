# SPDX-License-Identifier: GPL-2.0-only
"""Build a cell around this process, then become the program that is to run in it.

Executed as a file by itself, with the standard library alone (`python3 -I -S`), by
root, or by a user as root of a user namespace. Its one argument is the JSON of a
`cell.Plan`.

Two processes. The outer one stays outside: it writes the inner one's id maps, waits for
it, and ends as it did. The inner one is the first of a PID namespace: it mounts what
the program may see, makes that its root, enters a user namespace where it is one id
that owns nothing, lets go of every capability, and executes the program. When either
dies, nothing of the cell is left.

Mounts come before the user namespace and belong to the one outside, so the program
could not change them even with all capabilities of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

#: What a cell that could not be built ends with.
FAILED = 125

# include/uapi/linux/sched.h
_NEW_MOUNTS, _NEW_CGROUPS, _NEW_UTS = 0x00020000, 0x02000000, 0x04000000
_NEW_IPC, _NEW_USERS, _NEW_PIDS, _NEW_NET = (
    *(0x08000000, 0x10000000, 0x20000000),
    0x40000000,
)
# include/uapi/linux/mount.h
_NOSUID, _NODEV, _NOEXEC = 2, 4, 8
_BIND, _REC, _PRIVATE, _DETACH = 4096, 16384, 1 << 18, 2
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
# include/uapi/linux/fcntl.h, prctl.h, capability.h
_AT_RECURSIVE = 0x8000
_SET_PDEATHSIG, _CAPBSET_READ, _CAPBSET_DROP = 1, 23, 24
_SET_NO_NEW_PRIVS, _CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH = 1, 4
#: Linux 5.2; the same number on every machine, as of all calls since.
_OPEN_TREE, _MOVE_MOUNT = 428, 429
#: pivot_root, mount_setattr (Linux 5.12), capset.
_CALLS = {"x86_64": (155, 442, 126), "aarch64": (41, 442, 91)}

_NODES = ("null", "zero", "full", "random", "urandom")
#: Where the cell's root is put together; every machine has that directory.
_ROOT = Path("/tmp")
_STREAMS = ("stdin", "stdout", "stderr")
_LINKS = {
    "fd": "/proc/self/fd",
    **{name: f"/proc/self/fd/{n}" for n, name in enumerate(_STREAMS)},
}
#: Of the machine itself, where it stands for a lab root: programs, and their names.
_OF_MACHINE = (
    "usr",
    "bin",
    "sbin",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "etc/alternatives",
)

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: Path, kind: str, flags: int, data: str = "") -> None:
    words = [word.encode() for word in (source, str(target), kind)]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), data.encode()), f"mount {target}")


def _seal(target: Path, attributes: int) -> None:
    """Set attributes of a mount and of all below it."""
    attr = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    number = _CALLS[os.uname().machine][1]
    path = str(target).encode()
    code = _libc.syscall(number, -100, path, _AT_RECURSIVE, attr, ctypes.sizeof(attr))
    _check(code, f"mount_setattr {target}")


def _prctl(option: int, *values: int) -> int:
    return int(
        _libc.prctl(option, *(ctypes.c_ulong(v) for v in (*values, 0, 0, 0)[:4]))
    )


# --- what it sees ---------------------------------------------------------------------


def _bind(tree: int, place: Path, is_writable: bool = False) -> None:
    """Show at `place` what `_tree` has returned."""
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        if stat.S_ISDIR(os.fstat(tree).st_mode):
            place.mkdir()
        else:
            place.touch()
    _move(tree, place)
    _seal(place, _ATTR_NOSUID | _ATTR_NODEV | (0 if is_writable else _ATTR_RDONLY))


def _move(tree: int, place: Path) -> None:
    here, flags = str(place).encode(), _MOVE_MOUNT_F_EMPTY_PATH
    _check(_libc.syscall(_MOVE_MOUNT, tree, b"", -100, here, flags), f"mount {place}")


def _tree(seen: str, is_recursive: bool = True) -> int:
    """Return a descriptor of what is mounted at `seen`, and below it, as it is now.

    Taken before anything is mounted, which may cover it.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if is_recursive else 0)
    tree: int = _libc.syscall(_OPEN_TREE, -100, seen.encode(), flags)
    _check(tree, seen)
    return tree


def _mirror(root: Path) -> None:
    """Make a root of the machine's own programs, and of nothing else it has."""
    own = {name: Path("/") / name for name in _OF_MACHINE}
    trees = {n: _tree(str(p)) for n, p in own.items() if p.is_dir()}
    _mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, "mode=755,size=1m")
    for name, tree in trees.items():
        if own[name].is_symlink():
            (root / name).symlink_to(own[name].readlink())
        else:
            _bind(tree, root / name)
    for name in ("dev", "proc", "tmp", "lab"):
        (root / name).mkdir()


def _furnish(plan: Mapping[str, Any]) -> Path:
    """Mount all that the program sees, at a root that it returns."""
    _mount("", Path("/"), "", _REC | _PRIVATE)
    root = _ROOT
    binds = [(_tree(seen), place, mode) for seen, place, mode in plan["binds"]]
    if plan["is_machine"]:
        _mirror(root)
    else:
        _move(_tree(plan["root"], is_recursive=False), root)
        _seal(root, _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV)
    _mount("tmpfs", root / "lab", "tmpfs", _NOSUID | _NODEV, "mode=755,size=1m")
    for tree, place, is_writable in binds:
        _bind(tree, root / place.lstrip("/"), is_writable)
    _devices(root / "dev")
    size = f"mode=1777,size={plan['tmp_mb']}m"
    _mount("tmpfs", root / "tmp", "tmpfs", _NOSUID | _NODEV, size)
    return root


def _devices(dev: Path) -> None:
    _mount("tmpfs", dev, "tmpfs", _NOSUID | _NOEXEC, "mode=755,size=64k")
    for name in _NODES:
        (dev / name).touch()
        _mount(f"/dev/{name}", dev / name, "", _BIND)
    for name, target in _LINKS.items():
        (dev / name).symlink_to(target)


def _proc(root: Path, is_whole: bool) -> int:
    """Mount a /proc of processes alone; return a descriptor of a whole one.

    That is nowhere to be found by a path: what it says of the machine, as its kernel's
    command line, is none of the program's business, but for one that asks for it.
    """
    proc = root / "proc"
    flags = _NOSUID | _NODEV | _NOEXEC
    _mount("proc", proc, "proc", flags)
    whole = os.open(proc, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if not is_whole:
        _check(_libc.umount2(str(proc).encode(), _DETACH), "umount /proc")
        _mount("proc", proc, "proc", flags, "subset=pid")
    return whole


def _pivot(root: Path) -> None:
    """Make it the root: the machine's mounts are not hidden then, they are gone."""
    os.chdir(root)
    _check(_libc.syscall(_CALLS[os.uname().machine][0], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _DETACH), "umount of the old root")
    os.chdir("/")


# --- what it may do -------------------------------------------------------------------


def _no_more_users(whole_proc: int) -> None:
    """Let nobody in this user namespace begin another one."""
    path, flags = "sys/user/max_user_namespaces", os.O_WRONLY | os.O_CLOEXEC
    handle = os.open(path, flags, dir_fd=whole_proc)
    os.write(handle, b"0\n")
    os.close(handle)


def _drop_capabilities() -> None:
    capability = 0
    while _prctl(_CAPBSET_READ, capability) == 1:
        _check(_prctl(_CAPBSET_DROP, capability), "dropping a capability")
        capability += 1
    _check(_prctl(_CAP_AMBIENT, _CAP_AMBIENT_CLEAR_ALL), "dropping capabilities")
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    number = _CALLS[os.uname().machine][2]
    _check(_libc.syscall(number, header, nothing), "dropping capabilities")
    _check(_prctl(_SET_NO_NEW_PRIVS, 1), "no_new_privs")


def _limit(limits: Mapping[str, int]) -> None:
    for name, most in {**limits, "RLIMIT_CORE": 0}.items():
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(number, (most, most))


def _inner(plan: Mapping[str, Any], asking: int, answer: int) -> NoReturn:
    _check(_prctl(_SET_PDEATHSIG, signal.SIGKILL), "death signal")
    spaces = _NEW_MOUNTS | _NEW_NET | _NEW_IPC | _NEW_UTS | _NEW_CGROUPS
    _check(_libc.unshare(spaces), "unshare")
    root = _furnish(plan)
    whole_proc = _proc(root, plan["has_whole_proc"])
    _pivot(root)
    os.setgroups([])
    _check(_libc.unshare(_NEW_USERS), "unshare of users")
    os.write(asking, b"map")
    if os.read(answer, 16) != b"mapped":
        raise OSError("the outer process is gone")
    uid = plan["uid"]
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    _no_more_users(whole_proc)
    _drop_capabilities()
    _limit(plan["limits"])
    # A change of ids has undone it. Whoever died before this was noticed above
    _check(_prctl(_SET_PDEATHSIG, signal.SIGKILL), "death signal")
    os.umask(0o022)
    os.execvpe(plan["argv"][0], plan["argv"], plan["env"])


# --- outside --------------------------------------------------------------------------


def _map(pid: int, uid: int) -> None:
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{name}").write_text(f"{uid} {uid} 1\n")


def _close_all_but(kept: Sequence[int]) -> None:
    """Close what is the program's alone, so that others see when it closes it."""
    for entry in [*Path("/proc/self/fd").iterdir()]:
        if (handle := int(entry.name)) > 2 and handle not in kept:
            with contextlib.suppress(OSError):  # the one of this listing
                os.close(handle)


def _end_like(status: int) -> NoReturn:
    """End as the program did, by the same signal if it was one."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code not in (9, 19) else None
        os.kill(os.getpid(), -code)
    os._exit(code)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Say what failed in one line, and end."""
    try:
        yield
    except (OSError, KeyError, ValueError) as error:
        print(f"cell: {error}", file=sys.stderr, flush=True)
        os._exit(FAILED)


def _die_with(starter: int | None) -> None:
    """Have the kernel end this process with the one that started it."""
    if starter is None:
        return
    _check(_prctl(_SET_PDEATHSIG, signal.SIGKILL), "death signal")
    if os.getppid() != starter:
        raise OSError("whoever started it is gone")


def main(text: str) -> NoReturn:
    plan = json.loads(text)
    with _told():
        _die_with(plan["starter"])
        asked, asking = os.pipe()
        answer, answering = os.pipe()
        _check(_libc.unshare(_NEW_PIDS), "unshare of processes")
    child = os.fork()
    if not child:
        with _told():
            os.close(asked)
            os.close(answering)
            _inner(plan, asking, answer)
    with _told():
        _close_all_but((asked, answering))
        if os.read(asked, 16) == b"map":
            _map(child, plan["uid"])
            os.write(answering, b"mapped")
        _, status = os.waitpid(child, 0)
    _end_like(status)


if __name__ == "__main__":
    main(sys.argv[1])
