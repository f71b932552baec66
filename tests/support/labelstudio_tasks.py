"""Label Studio's format of tasks to import, as its documentation says it, closed to other fields.

What its own ``label-studio-sdk`` checks is looser; that package brings 150 others.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Pixels = Annotated[int, Field(gt=0)]
Text = Annotated[str, Field(min_length=1)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


class RectangleValue(_Closed):
    x: Percent
    y: Percent
    width: Percent
    height: Percent
    rotation: Annotated[float, Field(ge=0, le=360)]
    rectanglelabels: list[str] = Field(min_length=1)


class ChoicesValue(_Closed):
    choices: list[str] = Field(min_length=1)


class _Region(_Closed):
    id: Text
    from_name: Text
    to_name: Literal["image"]
    score: float


class Rectangle(_Region):
    type: Literal["rectanglelabels"]
    original_width: Pixels
    original_height: Pixels
    image_rotation: Literal[0]
    value: RectangleValue


class Choices(_Region):
    type: Literal["choices"]
    value: ChoicesValue


class Prediction(_Closed):
    model_version: Text
    score: float | None = None
    result: list[Annotated[Rectangle | Choices, Field(discriminator="type")]]


class TaskData(_Closed):
    image: Annotated[str, Field(pattern=r"^(s3|https?)://")]


class Task(_Closed):
    data: TaskData
    predictions: list[Prediction] = Field(min_length=1)


TASKS = TypeAdapter(list[Task])
