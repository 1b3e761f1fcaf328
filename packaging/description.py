"""The README as the long description of a distribution, where no file is beside it.

In the clone its links are relative, so they work in an editor, in a fork and on any branch. On the page of a
package index they would lead nowhere, and there is no public place yet that they could lead to: so there a
link to a file becomes the name of that file, which whoever has the source finds. Links to the web and to a
heading stay. Once there is such a place, `[project.urls]` and absolute links take the place of this module.
"""

from __future__ import annotations

import re

FENCE = re.compile(r"(^```.*?^```[^\n]*$)", re.DOTALL | re.MULTILINE)
# What a code span shows is not a link: it is passed over, as the first of the two.
SPAN_OR_LINK = re.compile(
    r"(?P<span>`[^`\n]*`)|!?\[(?P<text>(?:`[^`\n]*`|[^\]`])*)\]\((?P<target>[^)\s]+)[^)]*\)"
)
COMMENT = re.compile(r"^<!--.*?-->\n", re.DOTALL | re.MULTILINE)


def without_the_clone(readme: str) -> str:
    """The text with the names of files in place of relative links, and without comments for our tests."""
    parts = FENCE.split(readme)  # every second one is a block of code
    parts[::2] = [SPAN_OR_LINK.sub(named, COMMENT.sub("", prose)) for prose in parts[::2]]
    return "".join(parts)


def named(found: re.Match[str]) -> str:
    """A span or a link to the web as it is, any other link as the file that it names."""
    text, target = found["text"], found["target"]
    if target is None or target.startswith(("https://", "http://", "mailto:", "#")):
        return found[0]
    file = target.partition("#")[0]
    return f"`{file}`" if text.strip("`/") == file.strip("/") else f"{text} (`{file}`)"
