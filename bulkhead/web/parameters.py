"""Parameters that several routes of the JSON API have."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from bulkhead.web.documents import LONGEST_ID

Limit = Annotated[int, Query(ge=1, le=200, description="items of a page")]
Offset = Annotated[int, Query(ge=0, le=LONGEST_ID, description="how many items to leave out")]
Search = Annotated[str, Query(max_length=253, description="part of a name, or of what is said of it")]
