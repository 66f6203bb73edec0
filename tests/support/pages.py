"""An HTML page taken apart, its nesting and its pictures checked; text that must be escaped."""

import base64
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

VOID = {"meta", "br", "hr", "img", "source", "link", "input"}


INSIDE = "data:image/svg+xml;base64,"


HOSTILE = "<script>alert(1)</script>\"' & $x$ --> [b]"


def svg_within(address):
    """The SVG that an address holds, well-formed and without anything from elsewhere."""
    assert address.startswith(INSIDE)
    text = base64.b64decode(address.removeprefix(INSIDE), validate=True).decode()
    names = [element.tag.rpartition("}")[2] for element in ElementTree.fromstring(text).iter()]
    assert not {"script", "foreignObject", "a"} & set(names)
    for reference in re.findall(r'href="([^"]*)"', text):
        assert reference.startswith(("#", "data:image/png;base64,")), reference
    return text


class Page(HTMLParser):
    """Checks the nesting and takes the page apart."""

    def __init__(self, path):
        super().__init__()
        self.path, self.open, self.tags, self.attributes, self.ids = path, [], [], [], []
        self.tables, self.words = [], []
        self.pictures = []  # of each the SVG for light pages, then the one for dark pages
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)
        given = dict(attrs)
        if tag == "source":
            assert given["media"] == "(prefers-color-scheme: dark)"
            self.pictures.append({"dark": svg_within(given["srcset"])})
        if tag == "img":
            assert given["alt"]
            self.pictures[-1]["light"] = svg_within(given["src"])
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, text):
        if "style" not in self.open:
            self.words.append(text)
        if self.open and ("td" in self.open or "th" in self.open):
            self.tables[-1][-1][-1] += text.replace("\n", " ")

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def table(self, first):
        """The one table whose header begins with `first`, as row name -> cells."""
        (found,) = [table for table in self.tables if table[0][0] == first]
        return {row[0]: [cell.strip() for cell in row[1:]] for row in found[1:]}
