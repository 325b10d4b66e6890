"""The frozen base of everything a recipe is made of."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import core_schema


class Config(BaseModel):
    """An immutable, validated value with a JSON form.

    Unknown fields are refused, numbers must be finite, and a boolean is no number.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        schema = handler(source)
        fields = schema
        while fields["type"] != "model-fields":
            fields = fields["schema"]
        for field in fields["fields"].values():
            field["schema"] = _refusing_booleans(field["schema"])
        return schema

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed; unlike `model_copy(update=)` it is validated.

        Args:
            changes: new values by field name. A dotted path reaches into nested values and tuples:
                `recipe.replace(epochs=3, **{"optimizer.lr": 0.05, "augmentation.0.padding": 2})`.

        Raises:
            ValueError: there is no such field, or the new value is not valid
                (`pydantic.ValidationError`).
        """
        fields = dict(self)
        for path, value in changes.items():
            name, _, rest = path.partition(".")
            if rest and name not in fields:
                raise ValueError(f"{type(self).__name__} has no field {name!r}")
            fields[name] = _replaced(fields[name], rest, value) if rest else value
        return type(self).model_validate(fields)


def _refusing_booleans(schema: Any) -> Any:
    """A schema whose numbers may not be booleans; nested configs have their own."""
    if schema["type"] in ("int", "float"):
        return core_schema.no_info_before_validator_function(_not_boolean, schema)
    if schema["type"] == "model":
        return schema
    nested = [key for key in ("schema", "values_schema") if key in schema]
    changes = {key: _refusing_booleans(schema[key]) for key in nested}
    for key in ("choices", "items_schema"):
        if isinstance(schema.get(key), list):
            changes[key] = [_refusing_booleans(each) for each in schema[key]]
    return schema | changes


def _not_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("input should be a valid number")
    return value


def _replaced(node: Any, path: str, value: Any) -> Any:
    """A nested value with the value at a dotted path replaced."""
    if isinstance(node, Config):
        return node.replace(**{path: value})
    name, _, rest = path.partition(".")
    if not isinstance(node, tuple) or not name.isdigit() or int(name) >= len(node):
        raise ValueError(f"there is nothing to replace at {path!r}")
    index = int(name)
    new = _replaced(node[index], rest, value) if rest else value
    return (*node[:index], new, *node[index + 1 :])
