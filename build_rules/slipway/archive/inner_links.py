"""Symbolic links of a tree that is to be complete in itself."""

from __future__ import annotations

from typing import List, Mapping

_MOST_LINKS = 40  # as the kernel


def leaves(name: str, target: str, links: Mapping[str, str]) -> bool:
    """Whether a link leads above the top, also through the others; `links` map names to targets."""
    place: List[str] = name.split("/")[:-1]
    todo, followed = [target], 0
    while todo:
        text = todo.pop()
        if text.startswith("/"):
            return True
        parts = text.split("/")
        for number, part in enumerate(parts):
            if part == ".." and not place:
                return True
            if part == "..":
                place.pop()
            elif part not in ("", "."):
                place.append(part)
            inner = links.get("/".join(place)) if part not in ("", ".", "..") else None
            if inner is not None:
                place.pop()
                todo += ["/".join(parts[number + 1 :]), inner]
                followed += 1
                break
        if followed > _MOST_LINKS:
            return False  # nothing opens such a link
    return False
