"""Finds symlinks that leave a tree, for trees that must be self-contained."""

from __future__ import annotations

from typing import List, Mapping

_MOST_LINKS = 40  # Linux gives up with ELOOP after 40 symlinks in a path


def leaves(name: str, target: str, links: Mapping[str, str]) -> bool:
    """Whether the symlink `name` leads out of the tree, directly or through other symlinks.

    `links` maps the names of all symlinks in the tree to their targets.
    """
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
            return False  # Linux never opens such a symlink, so it leads nowhere
    return False
