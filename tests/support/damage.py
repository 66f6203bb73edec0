"""Damage to files: bytes lost and flipped, values of another type, huge, negative, not a number, nested, missing."""

import copy
import json
import math

import yaml
from hypothesis import strategies as st

# Words that stand for deep nesting until a file's text is made: Python itself cannot copy values so deep.
DEEP = {"DEEPLIST": "[" * 300 + "1" + "]" * 300, "DEEPMAP": '{"a": ' * 300 + "1" + "}" * 300}
SOME = {"SOMELIST": "[" * 60 + "1" + "]" * 60}


NUMBERS = [0, -1, 1, 2, 7, 10**6, 2**31, 2**62, -(2**63), 2**70, 10**400, 0.5, -0.5, 1e-320, 1e18, 1e308, -1e308]
NUMBERS += [math.nan, math.inf, -math.inf]
TEXTS = ["", "a", "0", "nan", "\n two\nlines \r", "\x00", "\ud800", "\u202eé$\\<b>&", "x" * 3000, "{}", "../../x"]
OTHERS = [None, True, False, [], [1], [1, 2, 3], ["a"], [None], [[1]], {}, {"a": 1}, {"": None}]
JUNK = [*NUMBERS, *TEXTS, *OTHERS, *DEEP, *SOME]
_BOMB = """&a [1,1,1,1,1,1,1,1,1]
b: &b [*a,*a,*a,*a,*a,*a,*a,*a]
c: &c [*b,*b,*b,*b,*b,*b,*b,*b]
model: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]
seed: [*d,*d,*d,*d,*d,*d,*d,*d]"""
TAGS = ["&a [*a]", "!!python/object/apply:os.abort []", "!!timestamp x", "!!int ''", "!!int '_'", "!!bool x"]
TAGS += ["!!binary é", "!!float x", "? [a, b]", "<<: 1", "%YAML 9", "\t", "2001-99-99", "2001-01-01 00:00:00 +99:99"]
TAGS += ["*a", "|", "- - -", "!!set {a}", "!!omap [a: 1]", "1e400", "1:2:3", "0x" + "f" * 5000, "9" * 5000, "[" * 3000]
TAGS += [_BOMB]


@st.composite
def damaged_bytes(draw, content: bytes) -> bytes:
    """The bytes with some lost, flipped, repeated or put in."""
    raw = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(raw)))
        length = draw(st.sampled_from([1, 1, 2, 8, 64, 10**6]))
        match draw(st.sampled_from(["truncate", "flip", "overwrite", "drop", "repeat", "insert", "nest"])):
            case "truncate":
                del raw[at:]
            case "flip" if at < len(raw):
                raw[at] ^= 1 << draw(st.integers(0, 7))
            case "overwrite" if at < len(raw):
                raw[at] = draw(st.sampled_from([*b'0-9eE."{}[],: \n\\', 0, 0xFF, 0xC3, 0xED]))
            case "drop":
                del raw[at : at + length]
            case "repeat":
                raw[at:at] = raw[at : at + min(length, 4096)]
            case "insert":
                raw[at:at] = draw(st.binary(max_size=8))
            case "nest":
                raw[at:at] = draw(st.sampled_from([b"[", b'{"a":'])) * draw(st.sampled_from([3, 900, 100_000]))
    return bytes(raw)


def places(value, here=()):
    """The paths of all values inside a value, itself included."""
    yield here
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in entries:
        yield from places(inside, (*here, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


_KINDS = ["junk"] * 4 + ["slight"] * 4 + ["number", "remove", "rename", "add", "wrap", "exchange", "empty"]


def slightly_other(value):
    """A value of the same type that may well be right."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value * 1.25
        case str():
            return value + "x"
        case list():
            return value[::-1]
        case dict():
            return dict(reversed(value.items()))
    return 0


@st.composite
def damaged_value(draw, value):
    """JSON content with some of its values replaced, removed, renamed, wrapped or exchanged."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
        inside = [path for path in places(value) if path]
        if not inside:
            break
        # A depth first, so that the few values near the root are hit as often as the many below.
        depth = draw(st.sampled_from(sorted({len(path) for path in inside})))
        path = draw(st.sampled_from([path for path in inside if len(path) == depth]))
        parent, key = at(value, path[:-1]), path[-1]
        match draw(st.sampled_from(_KINDS)):
            case "slight":
                parent[key] = slightly_other(parent[key])
            case "junk":
                parent[key] = copy.deepcopy(draw(st.sampled_from(JUNK)))
            case "number":
                parent[key] = draw(st.sampled_from(NUMBERS))
            case "remove":
                del parent[key]
            case "rename" if isinstance(parent, dict):
                parent[draw(st.sampled_from(TEXTS))] = parent.pop(key)
            case "add" if isinstance(parent, dict):
                parent[draw(st.sampled_from(TEXTS))] = copy.deepcopy(draw(st.sampled_from(JUNK)))
            case "wrap":
                parent[key] = [parent[key]]
            case "exchange":
                parent[key] = copy.deepcopy(at(value, draw(st.sampled_from(inside))))
            case "empty":
                parent[key] = type(parent[key])() if parent[key] is not None else {}
    return value


def text_of(value, dump=json.dumps):
    """A value as a file's bytes, the words for deep nesting replaced by what they stand for."""
    text = dump(value)
    for word, deep in (DEEP | SOME).items():
        text = text.replace(f'"{word}"', deep) if dump is json.dumps else text.replace(word, deep)
    return text.encode("utf-8", "replace")


def damaged_json(content: bytes):
    """A JSON file's bytes, damaged in one way or the other."""
    values = damaged_value(json.loads(content)).map(text_of)
    return st.one_of(damaged_bytes(content), values, values, values)


@st.composite
def damaged_lines(draw, content: bytes) -> bytes:
    """A file of JSON lines with one line damaged, or the whole."""
    if draw(st.booleans()):
        return draw(damaged_bytes(content))
    lines = content.splitlines(keepends=True)
    number = draw(st.integers(0, len(lines) - 1))
    lines[number] = text_of(draw(damaged_value(json.loads(lines[number])))) + b"\n"
    return b"".join(lines)


@st.composite
def damaged_yaml(draw, content: bytes) -> bytes:
    """A YAML file's bytes: damaged, or with values replaced, or with a line that only YAML could hold."""
    match draw(st.sampled_from(["bytes", "value", "value", "tag", "tag"])):
        case "bytes":
            return draw(damaged_bytes(content))
        case "value":
            return text_of(draw(damaged_value(yaml.safe_load(content))), yaml.safe_dump)
    lines = content.decode().splitlines()
    number = draw(st.integers(0, len(lines) - 1))
    tag = draw(st.sampled_from(TAGS))
    key = lines[number].partition(":")[0]
    lines[number] = draw(st.sampled_from([tag, f"{key}: {tag}"]))
    return "\n".join(lines).encode()
