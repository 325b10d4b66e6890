"""The frozen base of everything a recipe is made of."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """An immutable, validated value with a JSON form.

    Unknown fields are refused and numbers must be finite.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

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
