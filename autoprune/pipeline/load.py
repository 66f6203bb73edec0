"""From files back to networks, and from networks to files that other programs read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from autoprune.channel_gating.files import CHANNELS, load_channels
from autoprune.early_exit.files import EXITS, load_network
from autoprune.errors import InputError, RunError, first_line
from autoprune.export.formats import export_onnx, export_pretrained, export_pt2
from autoprune.export.onnx_network import QUANTIZED_FILE, OnnxNetwork, network_in_run, precision_of
from autoprune.foundations.files import read_json, replacing, shortened
from autoprune.foundations.references import is_reference
from autoprune.foundations.registry import Registry
from autoprune.gating.files import GATES, load_skips
from autoprune.graph import analyse
from autoprune.hardware import LocalTarget, get_target
from autoprune.models import build, load_weights, read_weights, save_weights, uncompiled
from autoprune.models.checkpoint import aligned
from autoprune.models.copying import duplicate
from autoprune.models.weights import LAYOUTS, Layout
from autoprune.quantization.rounding import integer_layers
from autoprune.run.directory import is_run, read_settings
from autoprune.run.experiment import Experiment
from autoprune.space import Policy
from autoprune.switching.files import SWITCH, load_switch
from autoprune.techniques.apply import apply
from autoprune.techniques.policy_example import as_read_by, example_of
from autoprune.techniques.sparsity.ticket import is_ticket, read_ticket

__all__ = [
    "FORMATS",
    "LOADERS",
    "apply_files",
    "dense_model",
    "export_onnx",
    "export_run",
    "handed_over",
    "holds_dynamic",
    "load",
    "of_its_runtime",
    "quantized_network",
]

FORMATS = ("onnx", "pt2", "safetensors", "policy", "pretrained")

LOADERS: Registry[Callable[[Path], nn.Module]] = Registry(
    "kind of run",
    {
        "autoprune.llm/1": "autoprune.llm.models.load:network_in_run",
        "autoprune.quantize/1": "autoprune.pipeline.load:quantized_network",
    },
)
"""What loads the network of a run, by the schema of its report; of others, the policy says how."""

_DYNAMIC: Mapping[str, Callable[[nn.Module, Any, Path], nn.Module]] = {
    EXITS.name: load_network,
    SWITCH.name: load_switch,
    GATES.name: load_skips,
    CHANNELS.name: load_channels,
}
"""What reads a run of `dynamic`, by the file that it has."""

_LARGEST = 10**5  # of channels and classes that a policy names: more would only fill the memory
_MOST_NUMBERS = 2**28  # in an example input: one GiB in float32


def _require_own_weights(run: str | Path, weights: object) -> None:
    if weights is not None:
        raise InputError(f"{run} has weights of its own; leave the weights out")


def dense_model(policy: Policy, model: str | None = None) -> tuple[nn.Module, Any]:
    """The dense network that a policy was made for, with fresh weights, and an input of its shape.

    Args:
        policy: Names the model, its arguments and its input's shape.
        model: A zoo name or `package.module:factory` instead of the one named.

    Raises:
        InputError: If neither policy nor caller says, or the model cannot be made by its name.
    """
    name = model or policy.model.get("name")
    example = example_of(policy)
    if not isinstance(name, str) or example is None:
        lacks = "the input shape" if isinstance(name, str) else "the model; give it"
        raise InputError(f"the policy does not name its model and input shape: it lacks {lacks}")
    arguments = policy.model.get("arguments") or _arguments(name, example)
    if not isinstance(arguments, dict) or not all(_is_argument(*each) for each in arguments.items()):
        raise InputError(f"the policy's arguments of its model are none: {shortened(repr(arguments))}")
    try:
        made = build(name, **arguments, seed=0).eval()
        return made, as_read_by(made, example)
    except InputError as error:
        if arguments or model is not None or not is_reference(name):
            raise
        # `autoprune.compress` knows its network's class only, not what it was called with
        raise InputError(
            "this run's network was handed over in Python; give it: autoprune.load(run, model=...)"
            f" ({name} cannot be made by its name: {first_line(error)})"
        ) from error


def _arguments(name: str, example: Any) -> dict[str, int]:
    """What a network of the zoo is made with for inputs like this one, where a policy does not say."""
    if is_reference(name) or not isinstance(example, Tensor) or example.ndim < 3:
        return {}
    return {"in_channels": example.shape[1], "image_size": example.shape[-1]}


def _is_argument(name: str, value: object) -> bool:
    most = {"in_channels": _LARGEST, "classes": _LARGEST, "image_size": _MOST_NUMBERS}.get(name, 0)
    return type(value) is int and 0 < value <= most


def load(
    run_or_policy: str | Path | Policy, weights: str | Path | None = None, *, model: nn.Module | None = None
) -> nn.Module:
    """The small network, ready to use.

    Args:
        run_or_policy: A run's folder, a policy or its file; or a lottery ticket's file, which gives the network that
            its training starts from, under the masks of the last round.
        weights: Dense weights, which are then cut, or the small network's own. Default: the run's `finetuned`
            weights, or its `pruned` ones where it was not fine-tuned.
        model: The dense network, where it is neither of the zoo nor a `package.module:factory`.

    Returns:
        A module in evaluation mode.

    Raises:
        InputError: If a file is missing or does not fit.
    """
    if not isinstance(run_or_policy, Policy) and _is_ticket(Path(run_or_policy)):
        return _of_ticket(Path(run_or_policy), weights, model)
    if not isinstance(run_or_policy, Policy) and (read := _dynamic_reader(Path(run_or_policy))) is not None:
        _require_own_weights(run_or_policy, weights)
        return _dynamic(read, Path(run_or_policy), model)
    if not isinstance(run_or_policy, Policy) and (loader := _loader_of(Path(run_or_policy))) is not None:
        _require_own_weights(run_or_policy, weights)
        if model is not None:
            raise InputError(f"{run_or_policy} has its model in files; leave the model out")
        return loader(Path(run_or_policy))
    policy, found = _policy_and_weights(run_or_policy)
    path = Path(weights) if weights is not None else found
    if path is None:
        raise InputError("a policy alone is not enough: give the weights, dense or fine-tuned")
    if model is None:
        return small_with_weights(*dense_model(policy), policy, path)
    example = example_of(policy)
    if example is None:
        raise InputError("the policy does not say its model's input shape")
    dense = duplicate(uncompiled(model))  # the caller's own stays as it is
    return small_with_weights(dense, as_read_by(dense, example), policy, path)


def handed_over(run: Path, model: nn.Module | None = None) -> nn.Module:
    """The network that a finished run gives back, as it did when it ended.

    Args:
        run: Its folder.
        model: The dense network, where the run neither has its network in files nor can make it by its name.
    """
    if "integers" in read_json(run / "report.json", "report"):
        return network_in_run(run)
    return load(run, model=None if _loader_of(run) is not None else model)


def quantized_network(run: Path) -> OnnxNetwork:
    """The file that a run of `quantize` hands over: onnxruntime computes it, or the run's target where it has 16 bits.

    Raises:
        InputError: If it cannot be read, or is no ONNX that onnxruntime takes.
    """
    network = network_in_run(run)
    return network if precision_of(network.content) is None else of_its_runtime(network, read_settings(run)[0])


def of_its_runtime(network: OnnxNetwork, experiment: Experiment) -> OnnxNetwork:
    """A run's file as the run's target computes it; where that target is not here, onnxruntime does."""
    target = get_target(experiment.target, threads=experiment.threads)
    if not isinstance(target, LocalTarget) or target.available() is not None:
        return network
    return OnnxNetwork(network.content, target.caller(network.content))


def _loader_of(run: Path) -> Callable[[Path], nn.Module] | None:
    """What loads a run whose report is not that of a network with a policy; None for all others."""
    report = run / "report.json"
    schema = read_json(report, "report").get("schema") if report.is_file() else None
    return LOADERS.get(str(schema)) if schema in LOADERS else None


def _is_ticket(path: Path) -> bool:
    return path.suffix == ".safetensors" and path.is_file() and is_ticket(path)


def _of_ticket(path: Path, weights: str | Path | None, model: nn.Module | None) -> nn.Module:
    """The network that a ticket's training starts from.

    Raises:
        InputError: If weights are given, or the ticket does not name a network that can be made.
    """
    if weights is not None:
        raise InputError(f"{path} is a ticket, which has weights of its own; leave the weights out")
    ticket = read_ticket(path)
    name, arguments = ticket.about.get("name"), ticket.about.get("arguments") or {}
    if model is None and not isinstance(name, str):
        raise InputError(f"{path} does not name its network; give it: autoprune.load(ticket, model=...)")
    if not isinstance(arguments, dict) or not all(_is_argument(*each) for each in arguments.items()):
        raise InputError(f"{path}: the ticket's arguments of its model are none: {shortened(repr(arguments))}")
    dense = uncompiled(model) if model is not None else _made(path, str(name), arguments)
    return ticket.network(dense).eval()


def _made(path: Path, name: str, arguments: Mapping[str, int]) -> nn.Module:
    try:
        return build(name, **arguments, seed=0)
    except InputError as error:
        raise InputError(
            f"the network of {path} cannot be made by its name ({first_line(error)}); give it: autoprune.load(ticket,"
            " model=...)"
        ) from error


def holds_dynamic(run: Path) -> bool:
    """Whether what a run hands over is a network whose work depends on its input."""
    return _dynamic_reader(run) is not None


def _dynamic_reader(run: Path) -> Callable[[nn.Module, Any, Path], nn.Module] | None:
    """What reads the dynamic network of a run; None where there is none."""
    return next((read for name, read in _DYNAMIC.items() if (run / name).exists()), None)


def _dynamic(read: Callable[[nn.Module, Any, Path], nn.Module], run: Path, model: nn.Module | None) -> nn.Module:
    """The network of a run of `dynamic`.

    Raises:
        InputError: If the run does not say how its network is made, and it was not handed over; or a file is damaged.
    """
    policy = Policy.load(run / "policy.json")
    if model is None:
        dense, example = dense_model(policy)
    else:
        if (known := example_of(policy)) is None:
            raise InputError(f"{run / 'policy.json'} does not say its model's input shape")
        dense = uncompiled(model)
        example = as_read_by(dense, known)
    return read(apply(dense, policy, example) if policy.choices else dense, example, run)


def _policy_and_weights(source: str | Path | Policy) -> tuple[Policy, Path | None]:
    if isinstance(source, Policy):
        return source, None
    path = Path(source)
    if not path.is_dir():
        return Policy.load(path), None
    if not is_run(path):
        raise RunError(f"there is no run at {path}")
    weights = [path / name for name in ("finetuned.safetensors", "pruned.safetensors")]
    return Policy.load(path / "policy.json"), next((w for w in weights if w.exists()), None)


def small_with_weights(dense: nn.Module, example: Any, policy: Policy, path: Path) -> nn.Module:
    """The small network of a policy with weights from a file, whether these are the dense ones or its own."""
    small, weights = apply(dense, policy, example), read_weights(path)
    if not _are_of(dense, weights, path) or (policy.orders and _has_its_zeros(small, weights, path)):
        load_weights(small, path)
        return small.eval()
    load_weights(dense, path)
    return apply(dense, policy, example).eval()


def _has_its_zeros(small: nn.Module, weights: Mapping[str, Tensor], path: Path) -> bool:
    """Whether weights are zero wherever a masked network's are: they have its order already, and masks change nothing.

    Of a network whose shapes its policy leaves as they are; any trained weight but a masked one is other than zero.
    """
    masked = {name: p.detach() == 0 for name, p in small.named_parameters() if p.dim() > 1 and bool((p == 0).any())}
    found = aligned(weights, list(small.state_dict()), path)
    return bool(masked) and all(not bool(found[name][gone].any()) for name, gone in masked.items())


def _are_of(dense: nn.Module, weights: Mapping[str, Tensor], path: Path) -> bool:
    """Whether weights are the dense network's, and not those of a smaller one."""
    own = dense.state_dict()
    try:
        found = aligned(weights, list(own), path)
    except InputError:  # a dropped branch has no names
        return False
    return all(found[name].shape == own[name].shape for name in own)


def apply_files(policy_path: Path, model: str | None, weights: Path, out: Path) -> nn.Module:
    """Rebuild a pruned network from dense weights and a policy, and write its weights."""
    policy = Policy.load(policy_path)
    small = small_with_weights(*dense_model(policy, model), policy, weights)
    save_weights(small.state_dict(), out)
    return small


def export_run(run: Path, form: str, out: Path, layout: str = "dense") -> None:
    """Write a run's small network in a form that other programs read.

    Args:
        run: A run that has been searched; fine-tuned unless `form` is `policy`.
        form: One of `FORMATS`.
        out: The file; replaced atomically. For `pretrained` a folder that is not there yet.
        layout: Of `safetensors`: `dense`, or `compressed` for weights of the pattern 2:4.

    Raises:
        InputError: If the form or the layout is unknown, they do not go together, or the run lacks what is needed.
    """
    if form not in FORMATS:
        raise InputError(f"unknown format {form!r}; known: {', '.join(FORMATS)}")
    chosen = _layout(layout, form)
    read_settings(run)
    is_dynamic = holds_dynamic(run)
    of_file = "a dynamic network" if is_dynamic else "a quantized network"
    if is_dynamic or ((run / QUANTIZED_FILE).exists() and form != "policy"):
        if form != "onnx":
            raise InputError(f"{of_file} is written as onnx, not as {form}")
        with replacing(out) as temporary:
            temporary.write_bytes((run / "model.onnx").read_bytes())
        return
    if form == "policy":
        Policy.load(run / "policy.json").save(out)
        return
    if not (run / "finetuned.safetensors").exists():
        raise RunError(f"{run} has not been fine-tuned yet; run `autoprune finetune {run}` first")
    small, file = load(run), run / "model.onnx"
    if integer_layers(small) and form != "safetensors":
        if form != "onnx" or not file.exists():
            raise InputError(f"a network whose layers compute with integers is written as onnx, not as {form}")
        with replacing(out) as temporary:
            temporary.write_bytes(file.read_bytes())
        return
    if form == "safetensors":
        save_weights(small.state_dict(), out, chosen)
        return
    example = example_of(Policy.load(run / "policy.json"))
    if example is None:  # `load` would have refused it
        raise InputError(f"{run / 'policy.json'} does not say its model's input shape")
    {"pt2": export_pt2, "onnx": export_onnx, "pretrained": export_pretrained}[form](small, example, out)


def _layout(name: str, form: str) -> Layout:
    """The layout of a name, for a form that has it."""
    known = next((layout for layout in LAYOUTS if layout == name), None)
    if known is None:
        raise InputError(f"unknown layout {shortened(repr(name))}; known: {', '.join(LAYOUTS)}")
    if known != "dense" and form != "safetensors":
        raise InputError(f"--layout {known} goes with --format safetensors; {form} has one layout only")
    return known


def multiply_accumulates(model: nn.Module, example_input: Tensor) -> int:
    """Multiply-accumulates of convolutions and linear layers for one input.

    Args:
        model: Any module that `torch.export` can trace.
        example_input: What its forward takes, (1, ...).
    """
    return int(analyse(model, example_input, validate=False).macs({}))
