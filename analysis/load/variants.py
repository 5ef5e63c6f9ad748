# SPDX-License-Identifier: GPL-2.0-only
"""What the variants of an experiment are: by their fields, not by their names."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.model import CONTROL, Variant
from experiments.store.schema import Manifest


def variants(manifest: Manifest) -> dict[str, Variant]:
    """Return the variants of all schedulers, by their names."""
    return {
        s.variant: Variant(s.variant, s.cleanup, s.knobs, s.samplers)
        for s in manifest.specs
    }


def labels(manifest: Manifest) -> dict[str, str]:
    """Return what tells each variant from the others, for a figure.

    That is the strategy where there are several, and the knobs that differ among
    variants of one strategy; the name of a variant that nothing of this tells apart.
    """
    found = variants(manifest)
    tests = [v for v in found.values() if v.name != CONTROL]
    several = len({v.cleanup for v in tests}) > 1
    made = {}
    for variant in found.values():
        parts = [variant.cleanup] if several and variant in tests else []
        parts += [f"{k} {variant.knobs[k]}" for k in _swept(variant, tests)]
        made[variant.name] = ", ".join(parts) or variant.name
    return made


def _swept(variant: Variant, tests: Sequence[Variant]) -> list[str]:
    """Return the knobs in which the variants with the strategy of this one differ."""
    alike = [v for v in tests if v.cleanup == variant.cleanup]
    if variant not in alike:
        return []
    return [k for k in variant.knobs if len({str(v.knobs.get(k)) for v in alike}) > 1]


def sampler_set(
    variant: Variant, others: Sequence[Variant], several: Sequence[str]
) -> str:
    """Return the sampler that a variant of a ledger has.

    Of the sets of more than one, the smaller is called `several[0]`, the larger
    `several[1]`.
    """
    chosen = variant.samplers or ()
    if len(chosen) == 1:
        return chosen[0]
    largest = max(len(v.samplers or ()) for v in others)
    return several[len(chosen) == largest]
