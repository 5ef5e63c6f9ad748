# SPDX-License-Identifier: GPL-2.0-only
"""A kernel to boot: its uncompressed image, its vmlinux.h, and whether it will do.

Prepared once for each kernel, in the cache, keyed by the hash of the image.
"""

from __future__ import annotations

import bz2
import hashlib
import json
import lzma
import platform
import re
import shutil
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import lz4.block
import zstandard

from experiments import paths
from experiments.errors import ConfigError, MissingRequirement
from experiments.labroot.cell import Bind, run_inside
from experiments.labroot.lab_root import LabRoot
from experiments.model import digest
from experiments.support.files import atomic_write, let_read

_ELF = b"\x7fELF"
_SMALLEST = 0x250  # of an image with a whole boot header
_LZ4_LEGACY = b"\x02\x21\x4c\x18"
_LZ4_BLOCK = 8 << 20
#: No kernel is as large, uncompressed and with all of its debug information.
_MOST = 2 << 30
#: So many prepared kernels are kept in the cache, and others until they were not used
#: for so long.
_KEPT = 8
_KEPT_S = 30 * 24 * 3600
_BTF_SECTION = b"\0.BTF\0"  # among the names of an ELF file's sections
_VERSION = re.compile(rb"Linux version (\S+) ")


class _Stream(Protocol):
    """What the decompressors of the standard library and of zstandard share."""

    @property
    def eof(self) -> bool: ...

    def decompress(self, payload: bytes, most: int, /) -> bytes: ...


def _whole(stream: _Stream, payload: bytes) -> bytes:
    return _checked(stream.decompress(payload, _MOST + 1), stream.eof)


def _checked(out: bytes, is_whole: bool) -> bytes:
    """Return it; a few bytes may claim to be any number of gigabytes."""
    if len(out) > _MOST:
        raise EOFError(f"it is larger than {_MOST >> 20} MiB")
    if not is_whole:
        raise EOFError("it ends too early")
    return out


def _unzstd(payload: bytes) -> bytes:
    """Return the frame; its decompressor knows no limit, so it is read as a stream."""
    with zstandard.ZstdDecompressor().stream_reader(payload) as stream:
        _checked(stream.read(_MOST + 1), is_whole=True)
    whole = zstandard.ZstdDecompressor().decompressobj()
    return _checked(whole.decompress(payload), whole.eof)


def _unlzma(payload: bytes) -> bytes:
    return _whole(lzma.LZMADecompressor(), payload)


def _unlz4(payload: bytes) -> bytes:
    """Return the legacy frame of LZ4 that kernels use: blocks, each after its size.

    Every block but the last holds 8 MiB; the size of the result, which the build
    appends, is no block and ends the loop.
    """
    out, at = b"", len(_LZ4_LEGACY)
    while at + 4 < len(payload):
        (size,) = struct.unpack_from("<I", payload, at)
        if at + 4 + size > len(payload):
            break
        block = payload[at + 4 : at + 4 + size]
        out += lz4.block.decompress(block, uncompressed_size=_LZ4_BLOCK)
        _checked(out, is_whole=True)
        at += 4 + size
    return out


#: First bytes of a compressed payload, and what undoes it. The payload is followed by
#: the size of the result, which the decompressors must not mistake for more of it.
_COMPRESSIONS: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\x28\xb5\x2f\xfd", _unzstd),
    (b"\x1f\x8b", lambda payload: _whole(zlib.decompressobj(31), payload)),
    (b"\xfd7zXZ", _unlzma),
    (b"\x5d\x00\x00", _unlzma),
    (_LZ4_LEGACY, _unlz4),
    (b"BZh", lambda payload: _whole(bz2.BZ2Decompressor(), payload)),
)


#: What the decompressors raise.
_DAMAGED = (
    *(EOFError, OSError, struct.error, zlib.error, lzma.LZMAError),
    *(zstandard.ZstdError, lz4.block.LZ4BlockError),
)


@dataclass(frozen=True)
class Kernel:
    """``image`` is what QEMU boots; ``folder`` holds vmlinux and vmlinux.h.

    The image of the kernel that runs here is not known: there it is its BTF, and
    ``sha256`` is that of what it says of itself.
    """

    version: str
    sha256: str
    image: Path
    folder: Path
    is_running: bool = False


def vmlinux_of(image: bytes, name: str) -> bytes:
    """Return the ELF file in a bzImage, by the x86 boot header; an ELF file is itself.

    See Documentation/arch/x86/boot.rst: setup_sects at 0x1f1, "HdrS" at 0x202,
    payload_offset and payload_length at 0x248. Raises ConfigError.
    """
    if image.startswith(_ELF):
        return image
    if image[0x202:0x206] != b"HdrS" or len(image) < _SMALLEST:
        raise ConfigError(f"{name} is neither a bzImage nor a vmlinux of x86-64")
    offset, length = struct.unpack_from("<II", image, 0x248)
    offset += ((image[0x1F1] or 4) + 1) * 512
    payload = image[offset : offset + length]
    if payload.startswith(_ELF):
        return payload
    for magic, decompress in _COMPRESSIONS:
        if payload.startswith(magic):
            try:
                return decompress(payload)
            except _DAMAGED as error:
                raise ConfigError(f"{name} is damaged: {error}") from None
    raise ConfigError(
        f"{name} is compressed in a way not known here (lzo?): "
        "give the uncompressed vmlinux"
    )


def prepare(root: LabRoot, path: Path | None = None) -> Kernel:
    """Return the kernel at `path`, or the lab root's, ready to build for and boot.

    Raises ConfigError when it is no kernel, MissingRequirement when it cannot run
    sched_ext programs.
    """
    source = path or root.kernel_image
    try:
        image = source.read_bytes()
    except OSError as error:
        raise ConfigError(f"kernel {source}: {error.strerror}") from None
    sha256 = hashlib.sha256(image).hexdigest()
    folder = paths.cache_dir() / "kernels" / f"{sha256[:12]}-{root.key}"
    stamp = folder / "kernel.json"
    if not stamp.exists():
        _prepare(root, source, image, folder)
    said = json.loads(stamp.read_text())
    _prune(folder)
    if said["broken"]:
        raise MissingRequirement(
            f"kernel {source} ({said['version']}): {said['broken']}"
        )
    # The root's own kernel boots by PVH from the ELF file, 2 s sooner; whether a
    # user's kernel can is not known.
    return Kernel(said["version"], sha256, path or folder / "vmlinux", folder)


def _prune(used: Path) -> None:
    """Remove prepared kernels that nobody has used for a month, but the latest ones."""
    stamp = used / "kernel.json"
    stamp.touch()
    others = [s for s in used.parent.glob("*/kernel.json") if s != stamp]
    by_use = sorted(others, key=lambda s: s.stat().st_mtime, reverse=True)
    for old in by_use[_KEPT - 1 :]:
        if time.time() - old.stat().st_mtime > _KEPT_S:
            shutil.rmtree(old.parent, ignore_errors=True)


def running(root: LabRoot, sysfs: Path = Path("/sys")) -> Kernel:
    """Return the kernel of this machine, ready to build against.

    Raises MissingRequirement when it cannot run sched_ext programs.
    """
    release, version = platform.release(), platform.version()
    try:
        btf = (sysfs / "kernel/btf/vmlinux").read_bytes()
        notes = (sysfs / "kernel/notes").read_bytes()  # the build id is among them
    except FileNotFoundError as error:
        raise MissingRequirement(
            f"the running kernel {release} has no {error.filename} "
            "(CONFIG_DEBUG_INFO_BTF): boot another one, or leave --backend host away"
        ) from None
    identity = [
        release,
        version,
        *(hashlib.sha256(b).hexdigest() for b in (btf, notes)),
    ]
    sha256 = digest(identity)
    folder = paths.cache_dir() / "kernels" / f"{sha256[:12]}-{root.key}"
    if not (folder / "kernel.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        atomic_write(folder / "btf", btf)
        _finish(folder, release, _header(root, folder, "btf"))
    said = json.loads((folder / "kernel.json").read_text())
    if said["broken"]:
        raise MissingRequirement(f"the running kernel {release}: {said['broken']}")
    return Kernel(release, sha256, folder / "btf", folder, is_running=True)


def _prepare(root: LabRoot, source: Path, image: bytes, folder: Path) -> None:
    vmlinux = vmlinux_of(image, str(source))
    version = _VERSION.search(vmlinux)
    shutil.rmtree(folder, ignore_errors=True)
    atomic_write(folder / "vmlinux", vmlinux)
    header = _header(root, folder, "vmlinux") if _BTF_SECTION in vmlinux else ""
    _finish(folder, version[1].decode() if version else "unknown", header)


def _header(root: LabRoot, folder: Path, file: str) -> str:
    """Return a header of the types in a file, which is an ELF file or bare BTF."""
    dump = ("bpftool", "btf", "dump", "file", f"/lab/kernels/{file}", "format", "c")
    let_read(folder)
    binds = [Bind(folder, "/lab/kernels")]
    return run_inside(root.path, dump, timeout_s=300, binds=binds).stdout


def _finish(folder: Path, version: str, header: str) -> None:
    atomic_write(folder / "vmlinux.h", header)
    said = {"version": version, "broken": unfit(header)}
    atomic_write(folder / "kernel.json", json.dumps(said))


def unfit(header: str) -> str:
    """Return why a kernel with this vmlinux.h will not do; empty when it will.

    Some builds have sched_ext but lost BTF of its kfuncs when their declaration
    tags were deduplicated; every load then fails with "func_proto incompatible with
    vmlinux".
    """
    remedy = "take another kernel: without --kernel and --backend it is the lab root's"
    if not header:
        return f"it has no BTF (CONFIG_DEBUG_INFO_BTF): {remedy}"
    if "struct sched_ext_ops {" not in header:
        return f"it has no sched_ext (CONFIG_SCHED_CLASS_EXT): {remedy}"
    if "extern s32 scx_bpf_create_dsq(" not in header:
        return f"its BTF does not declare the kfuncs of sched_ext: {remedy}"
    return ""
