# SPDX-License-Identifier: GPL-2.0-only
from __future__ import annotations

import bz2
import gzip
import lzma
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import lz4.block
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from experiments.errors import ConfigError, MissingRequirement
from experiments.labroot import kernel_image
from experiments.labroot.lab_root import LabRoot

FIT = "struct sched_ext_ops {\n};\nextern s32 scx_bpf_create_dsq(u64, s32)"
ELF = b"\x7fELF" + b"a kernel " * 500
PACK: dict[str, Callable[[bytes], bytes]] = {
    "zstd": zstandard.ZstdCompressor().compress,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "lz4": lambda data: lz4_legacy(data),
    "none": bytes,
}


def lz4_legacy(data: bytes, block: int = 8 << 20) -> bytes:
    out = b"\x02\x21\x4c\x18"
    for at in range(0, len(data), block):
        packed = lz4.block.compress(data[at : at + block], store_size=False)
        out += struct.pack("<I", len(packed)) + packed
    return out


def test_lz4_of_several_blocks() -> None:
    data = ELF + os.urandom(1000) * 10_000
    image = bzimage(lz4_legacy(data) + struct.pack("<I", len(data)))
    assert kernel_image.vmlinux_of(image, "k") == data


def bzimage(payload: bytes, setup_sects: int = 4) -> bytes:
    """The smallest file with the fields of the x86 boot header that are read."""
    image = bytearray((setup_sects + 1) * 512 + 64)
    image[0x1F1] = setup_sects
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", image, 0x248, 64, len(payload))
    return bytes(image) + payload + b"relocations"


@pytest.mark.parametrize("how", PACK)
def test_every_compression(how: str) -> None:
    # The build appends the size of the result to the compressed payload
    tail = b"" if how == "none" else struct.pack("<I", len(ELF))
    image = bzimage(PACK[how](ELF) + tail)
    assert kernel_image.vmlinux_of(image, "k") == ELF


@pytest.mark.parametrize("how", [h for h in PACK if h not in ("none", "lz4")])
def test_a_damaged_image_is_named(how: str) -> None:
    packed = PACK[how](ELF)
    with pytest.raises(ConfigError, match="vmlinuz-x is damaged"):
        kernel_image.vmlinux_of(bzimage(packed[: len(packed) // 2]), "vmlinuz-x")


def test_a_truncated_zstd_image_is_not_half_a_kernel() -> None:
    packed = PACK["zstd"](os.urandom(10_000))
    with pytest.raises(ConfigError, match="damaged"):
        kernel_image.vmlinux_of(bzimage(packed[:5000]), "k")


def test_zero_setup_sectors_mean_four() -> None:
    image = bytearray(bzimage(ELF))
    image[0x1F1] = 0
    assert kernel_image.vmlinux_of(bytes(image), "k").startswith(ELF)


def test_a_vmlinux_is_itself() -> None:
    assert kernel_image.vmlinux_of(ELF, "k") is ELF


def test_an_unknown_compression_names_the_remedy() -> None:
    with pytest.raises(ConfigError, match="uncompressed vmlinux"):
        kernel_image.vmlinux_of(bzimage(b"\x89LZO\x00"), "k")


@given(st.binary(max_size=2000))
def test_what_is_no_kernel_is_named(data: bytes) -> None:
    with pytest.raises(ConfigError, match="initrd"):
        kernel_image.vmlinux_of(b"x" + data, "initrd")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("", "no BTF"),
        ("struct task_struct {", "no sched_ext"),
        ("struct sched_ext_ops {\n", "does not declare the kfuncs"),
    ],
)
def test_kernels_that_will_not_do(header: str, words: str) -> None:
    assert words in kernel_image.unfit(header)
    assert "--kernel" in kernel_image.unfit(header)


def test_a_kernel_that_will_do() -> None:
    assert kernel_image.unfit(FIT) == ""


def test_a_running_kernel_without_btf_is_told(tmp_path: Path) -> None:
    root = LabRoot(tmp_path, "key", "suite", {})
    with pytest.raises(MissingRequirement, match="CONFIG_DEBUG_INFO_BTF"):
        kernel_image.running(root, tmp_path)


def test_the_running_kernel_is_known_by_what_it_says_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kernel_image, "_header", lambda *args: FIT)
    root = LabRoot(tmp_path, "key", "suite", {})
    (tmp_path / "kernel/btf").mkdir(parents=True)
    (tmp_path / "kernel/btf/vmlinux").write_bytes(b"types")
    (tmp_path / "kernel/notes").write_bytes(b"build id 1")
    one = kernel_image.running(root, tmp_path)
    assert one.is_running
    assert (one.folder / "vmlinux.h").read_text() == FIT
    assert kernel_image.running(root, tmp_path) == one
    (tmp_path / "kernel/notes").write_bytes(b"build id 2")
    assert kernel_image.running(root, tmp_path).sha256 != one.sha256


@pytest.mark.parametrize("how", [h for h in PACK if h != "none"])
def test_an_image_that_claims_to_be_huge_is_refused(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A few kilobytes that would become megabytes, with a limit of one."""
    monkeypatch.setattr(kernel_image, "_MOST", 1 << 20)
    image = bzimage(PACK[how](ELF + bytes(8 << 20)))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        kernel_image.vmlinux_of(image, "k")


def test_kernels_that_nobody_uses_leave_the_cache(tmp_path: Path) -> None:
    made = []
    for age_days in (0, 40, 50, 60, 70, 80, 90, 100, 110, 10):
        folder = tmp_path / f"k{age_days}"
        folder.mkdir()
        stamp = folder / "kernel.json"
        stamp.touch()
        long_ago = time.time() - age_days * 24 * 3600
        os.utime(stamp, (long_ago, long_ago))
        made.append(folder)
    kernel_image._prune(made[2])
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"k0", "k10", "k40", "k50", "k60", "k70", "k80", "k90"}
