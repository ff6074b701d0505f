"""A recipe from its page of TOML and the command line's overrides, and what is wrong with it in a sentence."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from flows.recipe.settings import Recipe
from tasks.train.settings import TRAINED_AS
from warehouse.errors import SettingError, nearest

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
DEFAULT_CONFIG = "demo"


def config_path(config: str) -> Path:
    """The file of a recipe: a path, or the name of one in ``configs/``. Raises SettingError."""
    for path in (Path(config), CONFIGS / f"{config}.toml"):
        if path.is_file():
            return path
    names = sorted(path.stem for path in CONFIGS.glob("*.toml"))
    raise SettingError(f"there is no recipe {config}: give a TOML file, or one of {', '.join(names)}")


def load_recipe(config: str = DEFAULT_CONFIG, overrides: tuple[str, ...] = ()) -> Recipe:
    """Reads a recipe and applies ``section.key=value`` overrides. Raises SettingError with one clear sentence."""
    path = config_path(config)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is not valid TOML: {error}") from error
    given: dict[str, Any] = {}
    for override in overrides:
        _apply(given, override)
    asked = given.get("model")
    if isinstance(asked, dict) and (asked.get("preset") or asked.get("depth")):
        _leave_out(values, keep=("context", "family") if asked.get("depth") else ())
    for override in overrides:
        _apply(values, override)
    try:
        recipe = Recipe.model_validate(values)
        recipe.select_settings(), recipe.split_settings()  # check repeats, and patterns of groups
        return recipe
    except ValidationError as error:
        raise SettingError(_sentence(error)) from error


def _leave_out(values: dict[str, Any], keep: tuple[str, ...]) -> None:
    """Takes out of a recipe's file what a preset or a depth on the command line is to set."""
    model = values.get("model", {})
    values["model"] = {name: model[name] for name in keep if name in model}
    training = values.get("pretrain", {})
    values["pretrain"] = {name: value for name, value in training.items() if name not in TRAINED_AS}


def _apply(values: dict[str, Any], override: str) -> None:
    name, sign, text = override.partition("=")
    if not sign:
        raise SettingError(f"--set {override} has no value: write --set section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    try:
        _place(values, name.strip().split("."), value)
    except (IndexError, ValueError, TypeError, AttributeError) as error:
        raise SettingError(f"there is no setting {name.strip()}: a part of its name leads nowhere") from error


def _place(values: dict[str, Any], name: list[str], value: Any) -> None:
    *sections, key = name
    place: Any = values
    for section in sections:
        place = place[int(section)] if isinstance(place, list) else place.setdefault(section, {})
    if isinstance(place, list):
        place[int(key)] = value
    else:
        place[key] = value


def _sentence(error: ValidationError) -> str:
    """The first fault of a recipe as a sentence that names the setting, and for an unknown one the nearest."""
    fault = error.errors()[0]
    place = [str(step) for step in fault["loc"]]
    name = ".".join(place)
    if fault["type"] == "extra_forbidden":
        fields = _fields_at(Recipe, place[:-1])
        known = [nearest(place[-1], fields)] if fields else []
        return f"there is no setting {name}; the nearest is {'.'.join([*place[:-1], *known])}"
    message = fault["msg"].removeprefix("Value error, ")
    if not place or fault["type"] == "value_error":
        return f"{name}: {message}" if name else message
    return f"the setting {name} cannot be {fault['input']!r}: {message[0].lower()}{message[1:]}"


def _fields_at(model: Any, place: list[str]) -> list[str]:
    """The names of the settings in a section, through dictionaries and lists of sections."""
    for step in place:
        model = _without_none(model)
        # A name in a dictionary of sections, or a number in a list of them, leads to what those hold.
        model = model.model_fields[step].annotation if _is_model(model) else get_args(model)[-1]
    model = _without_none(model)
    return list(model.model_fields) if _is_model(model) else []


def _without_none(kind: Any) -> Any:
    """The model of an optional section."""
    return (
        next((argument for argument in get_args(kind) if _is_model(argument)), kind)
        if type(None) in get_args(kind)
        else kind
    )


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
