"""Policies of several techniques: their files, and files that are none."""

import copy
import json

import pytest

from autoprune.errors import InputError
from autoprune.space import Policy, Stage, TechniquePart

MASKS = TechniquePart(
    technique="nm", stage=Stage.MASK, choices={"fc.weight": 2}, kinds={"fc.weight": "nm"}, payload={"of": 4}
)
BITS = TechniquePart(
    technique="bits", stage=Stage.FORMAT, choices={"fc": 8}, kinds={"fc": "bits"}, kept={"fc": list(range(8))}
)


def policy(**changes):
    fields = {
        "choices": {"conv1": 3, "layer1": 0},
        "kinds": {"layer1": "block"},
        "kept": {"conv1": [0, 2, 5], "layer1": []},
    }
    return Policy(**{**fields, "further": (MASKS, BITS), "criterion": "l1", "seed": 1, **changes})


def test_the_file_has_every_technique_in_order_and_is_read_back(tmp_path):
    made = policy()
    made.save(tmp_path / "policy.json")
    content = json.loads((tmp_path / "policy.json").read_text())
    assert list(content)[:3] == ["schema", "model", "techniques"] and content["schema"] == "autoprune.policy/2"
    assert [part["technique"] for part in content["techniques"]] == ["structured", "nm", "bits"]
    assert [part["stage"] for part in content["techniques"]] == ["shape", "mask", "format"]
    assert content["techniques"][1]["payload"] == {"of": 4}
    again = Policy.load(tmp_path / "policy.json")
    assert again == made and again.to_json() == made.to_json()
    assert again.units == {"conv1": 3, "layer1": 0}
    assert again.choices == {"conv1": 3, "layer1": 0, "fc.weight": 2, "fc": 8}


def test_with_widths_and_branches_only_the_file_is_of_the_first_schema(tmp_path):
    made = policy(further=())
    assert (
        made.to_json()
        == json.dumps(
            {
                "schema": "autoprune.policy/1",
                "model": {},
                "technique": "channels",
                "choices": {"conv1": 3, "layer1": 0},
                "kinds": {"layer1": "block"},
                "kept": {"conv1": [0, 2, 5], "layer1": []},
                "criterion": "l1",
                "budget": None,
                "predicted": {},
                "measured": {},
                "agent": None,
                "seed": 1,
            },
            indent=1,
        )
        + "\n"
    )


def test_a_technique_of_the_graph_comes_before_the_widths():
    exits = TechniquePart(technique="exits", stage="graph", choices={"exit1": 0}, kinds={"exit1": "exit"})
    assert [part.technique for part in policy(further=(exits, MASKS)).parts] == ["exits", "structured", "nm"]


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [
        (("schema",), "autoprune.policy/3", "schema: should be"),
        (("choices",), {"conv1": 1}, "choices: there is no such key"),
        (("further",), [], "further: there is no such key"),
        (("techniques",), None, "valid tuple"),
        (("techniques",), [], "at most once, as it is written, and others"),
        (("techniques", 0, "payload"), {"a": 1}, "as it is written"),
        (("techniques", 1, "technique"), "structured", "at most once"),
        (("techniques", 2, "technique"), "nm", "names 'nm' twice"),
        (("techniques", 1, "stage"), "format", None),
        (("techniques", 1, "stage"), "graph", "order of their stages"),
        (("techniques", 1, "stage"), 2, "should be one of graph, shape, mask, format"),
        (("techniques", 1, "stage"), [], "should be one of graph, shape, mask, format"),
        (("techniques", 1, "choices"), {"fc.weight": 0}, "at least one must stay"),
        (("techniques", 1, "choices"), {"conv1": 1, "fc.weight": 2}, "two techniques decide on 'conv1'"),
        (("techniques", 1, "kinds"), {"other": "nm"}, "which 'choices' does not"),
        (("techniques", 2, "kept"), {"fc": [1, 1]}, "'kept' names 2 units of 'fc', 'choices' 8"),
        (("techniques", 1, "more"), 1, "Extra inputs"),
        (("techniques", 0, "kept"), {"conv1": [2, 1, 0], "layer1": []}, "ascending"),
    ],
)
def test_files_that_are_none_are_one_line(tmp_path, at, value, says):
    content = copy.deepcopy(json.loads(policy().to_json()))
    place = content
    for key in at[:-1]:
        place = place[key]
    place[at[-1]] = value
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(content))
    if says is None:
        assert Policy.load(path).further[0].stage == Stage.FORMAT
        return
    with pytest.raises(InputError) as error:
        Policy.load(path)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_keys_of_the_second_schema_are_refused_in_the_first(tmp_path):
    content = json.loads(policy(further=()).to_json())
    for key, value in (("further", []), ("units", {}), ("techniques", [])):
        path = tmp_path / "policy.json"
        path.write_text(json.dumps({**content, key: value}))
        with pytest.raises(InputError, match=key):
            Policy.load(path)
