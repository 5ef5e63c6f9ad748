# SPDX-License-Identifier: GPL-2.0-only
"""What is said of a guest whose QEMU is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from experiments.errors import BackendLost

if TYPE_CHECKING:
    from tests.integration.conftest import Lab


def test_a_killed_qemu_is_named_with_its_signal(lab: Lab) -> None:
    """Last of those that share the guest: it need not be booted for anybody else."""
    result, _ = lab.run("misbehave", None, 1, 1.0, how="well")
    assert result["outcome"] == "OK", result["reason"]
    ours = psutil.Process().children(recursive=True)
    (qemu,) = [p for p in ours if p.name().startswith("qemu")]
    qemu.kill()
    with pytest.raises(BackendLost, match="the guest died: qemu got SIGKILL"):
        lab.run("misbehave", None, 1, 1.0, how="well")
    lab.close()
