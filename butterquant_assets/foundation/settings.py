"""Settings that every part shares, and the binding of a home directory to its sources and spans.

A setting comes, in this order, from the caller, from `BUTTERQUANT_*` environment variables, from what the home
directory is bound to, and from the default. Unknown keys are refused. Lines add sections of their own to
`HomeSettings` (see `definitions.py`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from butterquant_assets.foundation.calendar import parse_month
from butterquant_assets.foundation.errors import ConfigError
from butterquant_assets.foundation.files import write_atomically

PREFIX = "BUTTERQUANT_"
# Read by the tests and by CI, not by the product.
FOREIGN_KEYS = ("BUTTERQUANT_TEST_", "BUTTERQUANT_REQUIRE_SERVICES", "BUTTERQUANT_PG_")
BOUND = ("source", "data_dir", "bars_dataset", "start", "end", "seed", "edge", "tickers")
BINDING_FILE = "home.json"
SWITCHED_OFF = "none"
"""Source of a section that is not in use; it contradicts no binding, and what was bound waits for its return."""

S = TypeVar("S", bound="HomeSettings")


@dataclass(frozen=True)
class SectionBinding:
    """A section of the settings that a home is bound to by a file of its own.

    Parameters
    ----------
    file
        name of the file in the home directory
    fields
        fields of the section that are bound; the rest may change from run to run
    """

    file: str
    fields: tuple[str, ...]


class _Environment(EnvSettingsSource):
    """Environment variables, with lists and mappings as JSON at any depth of a section."""

    def explode_env_vars(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        # The library decodes JSON in fields of pydantic models only; sections are plain dataclasses.
        return {name: _decoded(value) for name, value in super().explode_env_vars(*arguments, **options).items()}


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _decoded(inner) for name, inner in value.items()}
    if not isinstance(value, str) or value[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value  # left for the validation to refuse, which names the field


class HomeSettings(BaseSettings):
    """Where the home is, and what feeds it.

    Parameters
    ----------
    home
        directory that holds the lake, the models, the warehouse and Dagster's own storage
    source
        ``sample`` (embedded, no network; its constituents are simulated) or ``files`` (a folder)
    data_dir
        folder of the ``files`` source
    bars_dataset
        name of the equity bars in that folder
    start, end
        first and last analysis month, ``YYYY-MM``; by default all the source allows. The market months needed
        before and after are added.
    seed
        of the simulated market and of every later random draw that has no seed of its own
    edge
        of the simulated market: 0 is a fair market in which there is nothing to find
    tickers
        number of simulated constituents
    lake_url
        where the lake lies; by default ``<home>/lake``. Any fsspec URL.
    warehouse_url
        SQLAlchemy URL; by default SQLite under the home directory
    executor
        where steps run: ``in_process``, ``multiprocess``, ``celery`` or ``k8s``
    broker_url
        Redis, for ``celery``. May hold a password: never log it.
    lease_seconds
        for ``celery``: when a step of a worker that died goes to another; longer than the longest step
    months_per_run, days_per_run
        most months (days, of assets by day) in one run of a backfill; by default all
    prune_after_days
        the weekly pruning spares what is younger
    reports_url
        where browsers find the reports that asset pages link to; `butterquant ui` serves them there
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,  # an input may be a secret
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What the caller gives, then the environment; nothing else is read."""
        return init_settings, _Environment(settings_cls)

    bound_sections: ClassVar[Mapping[str, SectionBinding]] = {}

    home: Path = Path("home")
    source: Literal["sample", "files"] = "sample"
    data_dir: Path | None = None
    bars_dataset: str = "stocks_daily"
    start: str | None = None
    end: str | None = None
    seed: int = 7
    edge: float = 0.0
    tickers: int = 50
    lake_url: str | None = None
    warehouse_url: str | None = None
    executor: Literal["in_process", "multiprocess", "celery", "k8s"] = "in_process"
    broker_url: str | None = None
    lease_seconds: int = Field(default=7200, ge=1)
    months_per_run: int | None = Field(default=None, ge=1)
    days_per_run: int | None = Field(default=None, ge=1)
    prune_after_days: int = Field(default=90, ge=1)
    reports_url: str = "http://127.0.0.1:3001"

    @field_validator("home", "data_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @field_validator("start", "end")
    @classmethod
    def _month(cls, value: str | None) -> str | None:
        return None if value is None else parse_month(value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.source == "files" and self.data_dir is None:
            raise ConfigError("source 'files' needs the folder to read: pass --data DIR or set BUTTERQUANT_DATA_DIR")
        if self.source != "files" and self.data_dir is not None:
            raise ConfigError(
                f"source {self.source!r} reads no folder, but data_dir is {self.data_dir}: "
                "pass --source files, or leave --data out"
            )
        if self.start and self.end and self.start > self.end:
            raise ConfigError(f"start {self.start} lies after end {self.end}: swap them")
        return self

    @property
    def lake_location(self) -> str:
        """URL or path of the lake."""
        return self.lake_url or str(self.home / "lake")

    @property
    def warehouse_location(self) -> str:
        """SQLAlchemy URL of the warehouse. May hold a password: never log it."""
        return self.warehouse_url or f"sqlite:///{self.home / 'warehouse.sqlite'}"

    @property
    def models_location(self) -> Path:
        """Directory of the model store."""
        return self.home / "models"


def load_settings(cls: type[S], overrides: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> S:
    """Build settings from overrides, environment and the home's binding.

    Parameters
    ----------
    cls
        the settings class, `HomeSettings` or a subclass
    overrides
        values the caller gives; None means "not given"
    environment
        by default the process's own

    Raises
    ------
    ConfigError
        for an unknown or bad key, or a value that contradicts what the home is bound to.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    _refuse_unknown_variables(cls, os.environ if environment is None else environment)
    home = _validated(HomeSettings, {"home": given["home"]} if "home" in given else {}, partial=True).home
    bound = read_binding(home)
    given |= {name: _with_bound(cls, home, name, given.get(name)) for name in cls.bound_sections}
    wanted = _validated(cls, given, partial=True)
    stated = wanted.model_fields_set
    for key in sorted(set(BOUND) & stated & bound.keys()):
        asked, held = _plain(getattr(wanted, key)), bound[key]
        if asked != held:
            raise ConfigError(
                f"the home directory {home} is bound to {key} = {held!r}, but {asked!r} was asked for: "
                f"use another home (--home DIR or BUTTERQUANT_HOME), or remove this one to start afresh"
            )
    inherited = {key: value for key, value in bound.items() if key in BOUND and key not in stated}
    settings = _validated(cls, {**inherited, **given})
    for name in cls.bound_sections:
        refuse_other_binding(settings, name)
    return settings


def _with_bound(cls: type[HomeSettings], home: Path, section: str, given: Any) -> dict[str, Any]:
    """Fields of a section: what is stated, and for the rest what the home is bound to; all stated of another source."""
    in_environment = _Environment(cls)().get(section, {})
    if given is not None and not isinstance(given, Mapping):
        given = {field.name: getattr(given, field.name) for field in fields(given)}
    stated = {**in_environment, **{name: value for name, value in (given or {}).items() if value is not None}}
    bound = read_binding(home, cls.bound_sections[section].file)
    inherited = {name: bound[name] for name in cls.bound_sections[section].fields if name in bound}
    source, held = stated.get("source"), inherited.get("source")
    if source is not None and held is not None and source != held:
        # The rest of the binding belongs to the other source: a check of the two together would blame what nobody said.
        if source != SWITCHED_OFF:
            raise _other_binding(home, section, "source", held, source)
        return stated
    return {**inherited, **stated}


def refuse_other_binding(settings: HomeSettings, section: str) -> None:
    """Refuse a section that contradicts what the home is bound to.

    Raises
    ------
    ConfigError
        with both values; a field that is None contradicts nothing, nor does a section that is switched off.
    """
    binding, held = settings.bound_sections[section], getattr(settings, section)
    if getattr(held, "source", None) == SWITCHED_OFF:
        return
    bound = read_binding(settings.home, binding.file)
    for name in sorted(bound.keys() & set(binding.fields)):
        asked = _plain(getattr(held, name))
        if asked is not None and asked != bound[name]:
            raise _other_binding(settings.home, section, name, bound[name], asked)


def _other_binding(home: Path, section: str, name: str, held: Any, asked: Any) -> ConfigError:
    return ConfigError(
        f"the home directory {home} is bound to {section} {name} = {held!r}, but {asked!r} was asked for: use another "
        f"home (--home DIR or BUTTERQUANT_HOME), or remove this one to start afresh"
    )


def read_binding(home: Path, file: str = BINDING_FILE) -> dict[str, Any]:
    """What a home directory is bound to by one of its files; empty for a new one.

    Raises
    ------
    ConfigError
        if the binding file cannot be read.
    """
    path = home / file
    if not path.exists():
        return {}
    try:
        binding: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}): restore it, or remove the home directory to start afresh"
        ) from error
    return binding


def bind_home(settings: HomeSettings, span: Mapping[str, str | None]) -> dict[str, Any]:
    """Bind a home directory to its source and span, once; later calls return what stands there.

    Parameters
    ----------
    settings
        the settings that decide the binding
    span
        the months the source was found to allow: ``start``, ``end``, ``market_start``, ``market_end``; and, where
        later months may join them, ``grows_to``: the last of these, or None for no end
    """
    return _bind(settings.home, BINDING_FILE, {key: _plain(getattr(settings, key)) for key in BOUND} | dict(span))


def bind_section(settings: HomeSettings, section: str, span: Mapping[str, str | None]) -> dict[str, Any]:
    """Bind a home directory to a section of the settings and a span, once; later calls return what stands there.

    Parameters
    ----------
    settings
        the settings that decide the binding
    section
        one of `bound_sections`
    span
        the keys the source was found to allow; they win over fields of the same name
    """
    bound, held = settings.bound_sections[section], getattr(settings, section)
    fields_held = {name: _plain(getattr(held, name)) for name in bound.fields}
    return _bind(settings.home, bound.file, fields_held | dict(span))


def _bind(home: Path, file: str, binding: dict[str, Any]) -> dict[str, Any]:
    existing = read_binding(home, file)
    if existing:
        return existing
    home.mkdir(parents=True, exist_ok=True)
    write_atomically(home / file, (json.dumps(binding, indent=2, sort_keys=True) + "\n").encode())
    return binding


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _validated(cls: type[S], values: Mapping[str, Any], *, partial: bool = False) -> S:
    target = _without_consistency(cls) if partial else cls
    try:
        return target(**values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"bad settings: {problems}") from None


def _without_consistency(cls: type[S]) -> type[S]:
    # A value may be stated now and its companion inherited from the binding, so consistency is judged at the end.
    return type(cls.__name__, (cls,), {"_consistent": lambda self: self, "__module__": cls.__module__})


def _refuse_unknown_variables(cls: type[HomeSettings], environment: Mapping[str, str]) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in cls.model_fields}
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name.startswith(FOREIGN_KEYS):
            continue
        if name.split("__")[0] not in known:
            raise ConfigError(
                f"environment variable {name} is not a setting; the settings are {', '.join(sorted(known))}"
            )
