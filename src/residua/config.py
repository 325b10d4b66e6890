"""The frozen base of everything a recipe is made of."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """An immutable, validated value with a JSON form.

    Unknown fields are refused and numbers must be finite, so a recipe that loads is a recipe that
    means what it says.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )
