"""Views, one file a kind: how a decoded image becomes what a model takes."""

from typing import TYPE_CHECKING

from shared.kinds import kinds_in, one_of
from shared.views.base import View

VIEWS = kinds_in(__name__, View)

if TYPE_CHECKING:
    AnyView = View
else:
    AnyView = one_of(VIEWS)

__all__ = ["VIEWS", "AnyView", "View"]
