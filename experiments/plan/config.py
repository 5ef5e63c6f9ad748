# SPDX-License-Identifier: GPL-2.0-only
"""config.yaml, the one description of an experiment, and the flags that override it.

The only reader of that file. Whatever is unknown or out of bounds is an error that
names the place and the nearest valid name: a misspelt key is a different experiment.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from experiments import paths, registry
from experiments.columns import header
from experiments.errors import ConfigError, unknown_name
from experiments.model import NO_CLEANUP, Scalar
from experiments.plan import knobs, scheduler_source
from experiments.plan.scheduler_source import SchedulerSource

#: Flags that are not called as their keys are.
_FLAG = {
    "schedulers": "--sched",
    "workloads": "--workload",
    "cleanups": "--cleanup",
    "samplers": "--sampler",
    "duration_s": "--duration",
    "commands": "--sched-cmd",
    "where": "--on",
    "settings": "--set",
}

#: The runs are done on this machine.
HERE = "here"

Names = Annotated[tuple[str, ...], Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class VmSettings(_Section):
    """The shape of the guest."""

    cpus: int = Field(default=2, ge=1, le=64)
    memory_mb: int = Field(default=2048, ge=512, le=1 << 20)
    jobs: int = Field(default=1, ge=1, le=256)  # guests side by side
    accel: Literal["auto", "kvm", "tcg"] = "auto"
    kernel: Path | None = None
    #: A boot for every object; auto: for schedulers of which a program wrote a block.
    fresh_boot: Literal["auto", "always", "never"] = "auto"


class Config(_Section):
    """An experiment as it was asked for; every name in it exists."""

    version: Literal[1] = Field(default=1, alias="schema")
    schedulers: tuple[str, ...] = ("scx_simple",)
    commands: tuple[str, ...] = ()  # programs that load a scheduler themselves
    include: tuple[Path, ...] = ()  # for the sources of users
    map: str = ""  # of a user's scheduler; empty: its largest hash
    #: Numbers to set in the read-only data of the schedulers.
    settings: Mapping[Annotated[str, Field(pattern=r"^\w+$")], int] = Field(
        default_factory=dict
    )
    workloads: Names = ("hackbench",)
    cleanups: Names = ("scan",)
    duration_s: int = Field(default=30, ge=1, le=86_400)
    iterations: int = Field(default=3, ge=1, le=10_000)
    sample_interval_s: float = Field(default=2.0, ge=0.01, le=3600)
    samplers: tuple[str, ...] = ("default",)
    #: What tells the arms apart; with none, test is control once more (A/A).
    treatment: Literal["cleanup", "samplers", "none"] = "cleanup"
    until_decided: bool = False  # iterations are then the most blocks, not all
    looks: int = Field(default=3, ge=0, le=10)  # planned; 0: after every block
    seed: int = Field(default=1, ge=0, lt=1 << 63)
    backend: str = "vm"
    #: here, dask (the cluster that Dask's own configuration names), or its address.
    where: str = Field(default=HERE, pattern=r"^(here|dask|[a-z]+://\S+)$")
    vm: VmSettings = VmSettings()
    knobs: Mapping[str, Scalar] = Field(default_factory=dict)
    sweep: Mapping[str, tuple[Scalar, ...]] = Field(default_factory=dict)
    workload: Mapping[str, Mapping[str, Scalar]] = Field(default_factory=dict)

    def workload_params(self, name: str) -> dict[str, Scalar]:
        return knobs.checked(
            name, self.workload.get(name, {}), registry.workload(name).parameters
        )

    def sources(self) -> list[SchedulerSource]:
        """Return the schedulers; with commands, these alone."""
        if self.commands:
            return [scheduler_source.from_commands(self.commands)]
        return [scheduler_source.from_text(text) for text in self.schedulers]

    def chosen_samplers(self) -> tuple[str, ...] | None:
        """Return the samplers asked for.

        None stands for the default, so that a spec does not change with it.
        """
        return None if self.samplers == default_samplers() else self.samplers

    def all_knobs(self) -> dict[str, Scalar]:
        """Return the knobs of this project's schedulers."""
        set_by_name = knobs.setting_knobs(self.settings)
        return {**knobs.checked("knobs", self.knobs, knobs.KNOBS), **set_by_name}


def load_config(path: Path | None = None, **flags: Any) -> Config:
    """Return `path` (config.yaml of the project) with `flags` over it; None is no flag.

    A name may be `all`. Raises ConfigError.
    """
    path = path or paths.CONFIG_FILE
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds no settings: see docs/quickstart.md")
    given = {k: v for k, v in flags.items() if v is not None}
    raw |= {k: v for k, v in given.items() if k != "kernel"}
    if "schedulers" in given and "commands" not in given:
        raw.pop("commands", None)
    if "kernel" in given:
        if not isinstance(raw.setdefault("vm", {}), dict):
            raise ConfigError(f"{path}: vm is not a section")
        raw["vm"] = {**raw["vm"], "kernel": given["kernel"]}
    return parse_config(raw, str(path), given)


def parse_config(
    raw: Mapping[str, Any], where: str, flags: Collection[str] = ()
) -> Config:
    """Return the config in `raw` with `flags` over it.

    Raises ConfigError naming `where` and the key, or the flag it came from.
    """
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise _config_error(error, where, flags) from None
    return _resolve(config)


def _config_error(
    error: ValidationError, where: str, flags: Collection[str]
) -> ConfigError:
    first = error.errors()[0]
    place = [str(p) for p in first["loc"]]
    if place[0] in flags:
        return ConfigError(f"{_FLAG.get(place[0], f'--{place[0]}')}: {first['msg']}")
    if first["type"] == "extra_forbidden":
        field = Config.model_fields.get(place[0])
        inner = field.default if field else None
        section = type(inner) if isinstance(inner, _Section) else Config
        valid = [f.alias or name for name, f in section.model_fields.items()]
        return ConfigError(f"{where}: {unknown_name('key', place[-1], valid)}")
    return ConfigError(f"{where}: {'.'.join(place)}: {first['msg']}")


def _resolve(config: Config) -> Config:
    """Expand `all` and check every name and setting."""
    config = config.model_copy(
        update={
            "schedulers": _schedulers(config.schedulers),
            "workloads": _names(
                "workload", config.workloads, registry.names("workload")
            ),
            "cleanups": _cleanups(config.cleanups),
            "samplers": _samplers(config.samplers),
        }
    )
    _names("backend", (config.backend,), registry.names("backend"))
    _names("workload", tuple(config.workload), registry.names("workload"))
    for name in registry.names("workload"):
        config.workload_params(name)
    config.all_knobs()
    _check_sources(config)
    _check_sweep(config)
    if config.sample_interval_s > config.duration_s:
        raise ConfigError(
            f"sample_interval_s is {config.sample_interval_s:g} and duration_s is "
            f"{config.duration_s}: a run needs at least one interval"
        )
    return config


def _schedulers(given: Sequence[str]) -> tuple[str, ...]:
    if tuple(given) == ("all",):
        return tuple(scheduler_source.names())
    return tuple(dict.fromkeys(given))


def _cleanups(given: Sequence[str]) -> tuple[str, ...]:
    """Return `none` is the control, which every experiment has.

    Alone, it has nothing else.
    """
    if tuple(given) == ("all",):
        return tuple(knobs.CLEANUPS)
    return _names("cleanup strategy", given, [NO_CLEANUP, *knobs.CLEANUPS])


def default_samplers() -> tuple[str, ...]:
    names = registry.names("sampler")
    return tuple(name for name in names if registry.sampler(name).by_default)


def default_columns() -> tuple[str, ...]:
    """Return the columns of the CSV of a run that names no samplers."""
    chosen = [registry.sampler(name) for name in default_samplers()]
    return header([column for sampler in chosen for column in sampler.columns])


def _samplers(given: Sequence[str]) -> tuple[str, ...]:
    """Return them in the order of their names.

    `default` stands for those on by default.
    """
    valid = registry.names("sampler")
    if tuple(given) in {("all",), ("none",)}:
        return tuple(valid) if given[0] == "all" else ()
    named = _names("sampler", given, ["default", "all", "none", *valid])
    if {"all", "none"} & set(named):
        raise ConfigError(f"--sampler {','.join(given)}: give all or none alone")
    every = {*named, *(default_samplers() if "default" in named else ())}
    return tuple(name for name in valid if name in every)


def _check_sources(config: Config) -> None:
    found = config.sources()
    if config.treatment != "cleanup" and not all(s.is_builtin for s in found):
        raise ConfigError(
            "the machine and its samplers are measured with a scheduler of this project"
        )
    if not config.schedulers and not config.commands:
        raise ConfigError("--sched: name at least one scheduler")
    if config.settings and config.commands:
        raise ConfigError("--set is of objects; a program has flags of its own")
    if len({source.name for source in found}) < len(found):
        raise ConfigError("two of the schedulers have the same file name")
    for directory in config.include:
        if not directory.is_dir():
            raise ConfigError(f"--include {directory}: there is no such directory")


def _check_sweep(config: Config) -> None:
    if config.sweep and config.commands:
        raise ConfigError("--sweep is of our strategies; a program has its own flags")
    for name, values in config.sweep.items():
        if name not in knobs.OF_CLEANUP:
            raise unknown_name("setting to sweep", name, knobs.OF_CLEANUP)
        if not values:
            raise ConfigError(f"sweep: {name} has no values")
        chosen = [c for c in config.cleanups if c != NO_CLEANUP]
        if not any(name in knobs.CLEANUPS[cleanup].reads for cleanup in chosen):
            named = ", ".join(config.cleanups)
            raise ConfigError(f"sweep: {name} means nothing to the strategy {named}")
        for value in values:
            knobs.checked("sweep", {name: value}, knobs.KNOBS)


def parse_sweep(texts: Sequence[str]) -> dict[str, list[Scalar]] | None:
    """Return `max_age_ms=1000,2000 budget_us=100` as a mapping.

    None when there is none.
    """
    sweep: dict[str, list[Scalar]] = {}
    for text in " ".join(texts).split():
        name, _, values = text.partition("=")
        try:
            sweep.setdefault(name, []).extend(int(v) for v in values.split(","))
        except ValueError:
            raise ConfigError(
                f"--sweep {text}: give a setting and whole numbers, as in "
                "max_age_ms=1000,2000"
            ) from None
    return sweep or None


def _names(kind: str, given: Sequence[str], valid: Sequence[str]) -> tuple[str, ...]:
    if tuple(given) == ("all",):
        return tuple(valid)
    for name in given:
        if name not in valid:
            raise unknown_name(kind, name, valid)
    return tuple(dict.fromkeys(given))
