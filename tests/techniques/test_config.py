"""A cut `transformers` config follows where one config can say what the network is; then its own class loads it."""

import pytest
import torch

import autoprune
from autoprune.errors import UnsupportedModelError
from autoprune.export.formats import export_pretrained
from autoprune.models.pretrained import first_stock_difference

transformers = pytest.importorskip("transformers")

IMAGE = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval()


def resnet():
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[2, 1], layer_type="basic", num_labels=4
    )
    return transformers.ResNetForImageClassification(config)


def vit():
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=16, patch_size=8,
        num_labels=3,
    )  # fmt: skip
    return transformers.ViTForImageClassification(config)


@pytest.fixture(scope="module", autouse=True)
def silent():
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity(before)


@pytest.mark.parametrize(
    ("make", "kinds", "changed"),
    [
        (resnet, None, {"embedding_size": 4, "hidden_sizes": [4, 8]}),
        (vit, ["ffn"], {"intermediate_size": 24}),
        (vit, None, {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}),
    ],
    ids=["resnet", "vit ffn", "vit"],
)
def test_an_even_cut_is_saved_and_loaded_by_the_stock_class(make, kinds, changed, tmp_path):
    net = seeded(make)
    before = net.config.to_dict()
    small = autoprune.apply(net, autoprune.search_space(net, IMAGE, kinds=kinds).uniform(0.5), IMAGE)
    assert net.config.to_dict() == before
    after = small.config.to_dict()
    assert {name: value for name, value in after.items() if value != before[name]} == changed
    export_pretrained(small, IMAGE, tmp_path / "small")
    loaded = type(net).from_pretrained(tmp_path / "small").eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(IMAGE).logits, small(IMAGE).logits)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
    with pytest.raises(autoprune.InputError, match="exists; name a folder"):
        export_pretrained(small, IMAGE, tmp_path / "small")


def test_an_uneven_cut_leaves_the_config_and_is_refused_by_name(tmp_path):
    net = seeded(vit)
    space = autoprune.search_space(net, IMAGE, kinds=["ffn"])
    first, second = space.names
    small = autoprune.apply(net, space.policy({first: 16, second: 24}), IMAGE)
    assert small.config.to_dict() == net.config.to_dict()
    assert "mlp.fc1.weight is [16, 32], by the config [48, 32]" in (first_stock_difference(small) or "")
    with pytest.raises(UnsupportedModelError, match=r"cannot be this network: vit.*fc1.weight is \[16, 32\]"):
        export_pretrained(small, IMAGE, tmp_path / "small")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(autoprune.InputError, match="cannot write"):
        export_pretrained(seeded(vit), IMAGE, tmp_path / "file" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_only_models_of_transformers_have_a_stock_class(tmp_path):
    with pytest.raises(UnsupportedModelError, match="Linear is no model of transformers"):
        export_pretrained(torch.nn.Linear(3, 4), IMAGE, tmp_path / "out")


def test_a_model_inside_of_a_users_module_follows_too():
    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = resnet()

        def forward(self, x):
            return self.body(x).logits

    net = seeded(Wrapped)
    small = autoprune.apply(net, autoprune.search_space(net, IMAGE).uniform(0.5), IMAGE)
    assert small.body.config.hidden_sizes == [4, 8]
    assert net.body.config.hidden_sizes == [8, 16]


def test_policy_and_safetensors_rebuild_it_without_pickle(tmp_path):
    from autoprune.models import save_weights

    net = seeded(vit)
    space = autoprune.search_space(net, IMAGE)
    policy = space.random(1)
    small = autoprune.apply(net, policy, IMAGE)
    named = policy.model_copy(update={"model": {**policy.model, "example": [1, 3, 16, 16]}})
    named.save(tmp_path / "policy.json")
    save_weights(net.state_dict(), tmp_path / "dense.safetensors")
    save_weights(small.state_dict(), tmp_path / "small.safetensors")
    for weights in ("dense", "small"):
        again = autoprune.load(tmp_path / "policy.json", tmp_path / f"{weights}.safetensors", model=seeded(vit))
        with torch.no_grad():
            assert torch.equal(again(IMAGE).logits, small(IMAGE).logits)


def test_what_compress_hands_over_says_its_own_widths(tmp_path):
    model = seeded(resnet)
    images = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    batches = [(images, torch.arange(32) % 4)]
    settings = {"budget": "params<=60%", "target": "torch", "agent": "uniform", "finetune_epochs": 0}
    result = autoprune.compress(model, train=batches, search=batches, test=batches, example_input=IMAGE, **settings)
    assert first_stock_difference(result.model) is None
    assert result.model.config.hidden_sizes != model.config.hidden_sizes
