"""The configuration reference, made from the settings themselves."""

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from smart_support.settings import Settings

_HEAD = """\
# Configuration

Every setting, in the environment or in a `.env` file in the working directory; the environment goes
before the file. Times are in seconds, sizes in bytes. Made by `smart-support settings`.

| name | default | form | meaning |
| --- | --- | --- | --- |
"""


def reference() -> str:
    """`docs/configuration.md`, whole."""
    return _HEAD + "".join(_rows()) + "\nA wrong line stops the start and is named.\n"


def _rows() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        yield f"| `{name.upper()}` | {default} | {_form(field)} | {field.description} |\n"


def _form(field: FieldInfo) -> str:
    kind = _plain(field.annotation)
    if kind is SecretStr:
        return "secret"
    for bound in field.metadata:
        match bound:
            case Gt(gt=least):
                return f"{kind.__name__} above {least}"
            case Ge(ge=least):
                most = next((one.le for one in field.metadata if isinstance(one, Le)), None)
                return f"{kind.__name__} from {least}" + ("" if most is None else f" to {most}")
            case _ if getattr(bound, "pattern", None):
                return f"one of {bound.pattern.strip('^$()').replace('|', ', ')}"
    written: str = kind.__name__
    return {"str": "text", "Path": "path"}.get(written, written)


def _plain(annotation: Any) -> Any:
    """The type itself, without `| None` and `Annotated`."""
    if get_origin(annotation) in {Union, UnionType}:
        annotation = next(one for one in get_args(annotation) if one is not NoneType)
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
