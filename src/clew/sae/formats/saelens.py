"""SAELens' format, read in all its versions, and written as Clew's own.

    FOLDER/cfg.json                  what it is: architecture, sizes, conventions, and metadata of where it belongs
    FOLDER/sae_weights.safetensors   W_enc [d_in, n], W_dec [n, d_out], b_enc, b_dec, and what the architecture adds
    FOLDER/clew.safetensors          ours alone, rarely: an input bias that is not the decoder's, and its encoder bias

Architectures are SAELens 6.54's; what SAELens has no architecture for is written under a name that begins with clew_,
so that it refuses the file rather than misread it. metadata["clew"] holds what only Clew keeps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from ...disk import written
from ...errors import BadAutoencoder, BadSite
from ...nodes import parse_site
from ..autoencoder import Activation, Autoencoder, Normalisation, Origin
from ..portion import Shared, Storable, sending
from ..portioned import portion_of
from ..records import AutoencoderInfo
from .folding import with_factor_folded, with_norms_folded
from .names import hook_of
from .place import Asked, Said
from .weights import Weights, read_json, read_safetensors, setting, text, write_safetensors, wrong

WEIGHTS = "sae_weights.safetensors"
CONFIG = "cfg.json"
OWN = "clew.safetensors"
REPORT = "report.json"  # of judging, beside what was judged
SCALER = "activation_scaler.json"  # beside the checkpoints of SAELens
_VERSION = "6.54.0"  # of SAELens, whose layout is written
_ACTIVATIONS: Mapping[str, Activation] = {
    "standard": "relu",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "batchtopk": "jumprelu",  # of a checkpoint: finished ones are saved as jumprelu
    "matryoshka_batchtopk": "jumprelu",
}
_TRAINED_AS = {"standard": "relu", "matryoshka_batchtopk": "matryoshka"}
_MODELS = {"smollm2": "HuggingFaceTB/SmolLM2-135M-Instruct"}  # our short names, and how others know them


@dataclass(frozen=True)
class _Config:
    """cfg.json of any version. `own` is metadata["clew"], empty in files of others."""

    path: Path
    architecture: str
    activation: Activation
    transcoder: bool
    skip: bool
    sizes: tuple[int, int, int]  # d_in, latents, d_out
    k: int | None
    reads_minus_b_dec: bool
    rescaled: bool
    scaled: bool  # trained on activations times a number
    normalisation: Normalisation
    said: Said
    origin: Origin
    own: Mapping[str, Any]


def said(weights: Path) -> Said:
    """What the files say of the autoencoder's place. Raises BadAutoencoder."""
    return _config(weights.with_name(CONFIG)).said


def read(weights: Path, asked: Asked) -> Autoencoder:
    """The autoencoder of a folder. Raises BadAutoencoder or WrongAutoencoder."""
    config = _config(weights.with_name(CONFIG))
    reads, writes = asked.places(config.said, weights.parent)
    if config.transcoder and config.normalisation != "none" and not config.own:
        raise wrong(config.path, f"a transcoder with {config.normalisation} on its input alone is not supported")
    found = read_safetensors(weights)
    d_in, n, d_out = config.sizes
    if "scaling_factor" in found and not (found.take("scaling_factor", n) == 1).all():
        raise wrong(weights, "its latents are scaled by a scaling_factor, which SAELens no longer reads either")
    b_dec = found.take("b_dec", d_out)
    w_enc, w_dec = found.take("W_enc", d_in, n), found.take("W_dec", n, d_out)
    gated = config.activation == "gated"
    autoencoder = Autoencoder(
        reads=reads,
        writes=writes,
        activation=config.activation,
        w_enc=w_enc,
        b_enc=found.take("b_mag" if gated else "b_enc", n),
        w_dec=w_dec,
        b_dec=b_dec,
        b_pre=b_dec if config.reads_minus_b_dec else None,
        k=config.k,
        threshold=_threshold(found, config, w_dec) if config.activation == "jumprelu" else None,
        b_gate=found.take("b_gate", n) if gated else None,
        r_mag=found.take("r_mag", n) if gated else None,
        w_skip=found.take("W_skip", d_out, d_in).T.contiguous() if config.skip else None,
        normalisation=config.normalisation,
        origin=replace(
            config.origin,
            dtype=config.own.get("dtype") or found.dtype("W_enc"),
            model=config.origin.model or asked.model,
        ),
    )
    if config.own.get("beside"):
        beside = read_safetensors(weights.with_name(OWN))
        b_gate = beside.take("b_gate", n) if gated else None
        autoencoder = replace(
            autoencoder, b_pre=beside.take("b_pre", d_in), b_enc=beside.take("b_enc", n), b_gate=b_gate
        )
    if config.scaled:
        autoencoder = with_factor_folded(autoencoder, _factor(weights.with_name(SCALER)))
    return with_norms_folded(autoencoder) if config.rescaled else autoencoder


def info(folder: Path, reference: str) -> AutoencoderInfo:
    """What one of Clew's own folders holds, without reading its weights. Raises BadAutoencoder."""
    config = _config(folder / CONFIG)
    reads, writes = Asked().places(config.said, folder)
    return AutoencoderInfo(
        name=config.origin.name,
        reference=reference,
        model=config.origin.model,
        reads=str(reads),
        writes=str(writes),
        architecture=config.origin.architecture,
        activation=config.activation,
        latents=config.sizes[1],
        k=config.k,
        format=config.origin.format,
        tokens=config.origin.tokens,
        dtype=config.origin.dtype,
        judged=(folder / REPORT).is_file(),
    )


def save(autoencoder: Autoencoder, folder: Path | str) -> None:
    """Write an autoencoder into a folder, in float32: whole, or an earlier one there is left as it was.

    One that several ranks have together is saved by all at the same time, and written by rank 0. Raises NoSpace.
    """
    folder = Path(folder)
    a = autoencoder
    transcoder = a.is_transcoder or a.w_skip is not None
    same = a.b_pre is not None and not transcoder and torch.equal(a.b_pre, a.b_dec)
    beside = {} if a.b_pre is None or same else {"b_pre": a.b_pre, "b_enc": a.b_enc, "b_gate": a.b_gate}
    b_enc, b_gate = _without_input_bias(a) if beside else (a.b_enc, a.b_gate)
    tensors = {
        "W_enc": a.w_enc,
        "W_dec": a.w_dec,
        "b_dec": a.b_dec,
        "b_mag" if a.activation == "gated" else "b_enc": b_enc,
        "threshold": a.threshold,
        "b_gate": b_gate,
        "r_mag": a.r_mag,
        "W_skip": None if a.w_skip is None else a.w_skip.T,
    }
    config = {
        "architecture": _architecture(a, transcoder),
        "d_in": a.d_in,
        "d_sae": a.n_latents,
        **({"d_out": a.d_out} if transcoder else {}),
        **({"k": a.k, "rescale_acts_by_decoder_norm": False} if a.activation == "topk" else {}),
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": same,
        "normalize_activations": a.normalisation,
        # hook_z is a head's at a time, and d_in all heads'.
        "reshape_activations": "hook_z" if a.reads.name == "attn_act" and not transcoder else "none",
        "metadata": {
            "sae_lens_version": _VERSION,
            "sae_lens_training_version": None,
            "model_name": _MODELS.get(a.origin.model or "", a.origin.model),
            "hook_name": hook_of(a.reads),
            **({"hook_name_out": hook_of(a.writes)} if transcoder else {}),
            "context_size": a.origin.context,
            "prepend_bos": a.origin.bos,
            "clew": {"reads": str(a.reads), "writes": str(a.writes), **asdict(a.origin), "beside": bool(beside)},
        },
    }
    files = {WEIGHTS: _storable(a, tensors), **({OWN: _storable(a, beside)} if beside else {})}
    with sending(*files.values()), ExitStack() as stack:
        if portion_of(a).group.rank > 0:
            return
        # All is on disk before the first of them is put in its place.
        path = stack.enter_context(written(folder / CONFIG))
        path.write_text(json.dumps(config, indent=1), encoding="utf-8")
        for name, content in files.items():
            write_safetensors(content, stack.enter_context(written(folder / name)))
    if not beside:
        (folder / OWN).unlink(missing_ok=True)


def _storable(a: Autoencoder, tensors: Mapping[str, Tensor | None]) -> Storable:
    """Tensors to be written, by name: of an autoencoder that several ranks have, those of latents lie with them all."""
    portion, whole = portion_of(a), ("b_dec", "b_pre", "W_skip")
    found: dict[str, Tensor | Shared] = {}
    for name, tensor in tensors.items():
        if tensor is not None:
            tensor = tensor.to(torch.float32)
            found[name] = tensor if name in whole else portion.shared(tensor, 1 if name == "W_enc" else 0)
    return found


def _without_input_bias(a: Autoencoder) -> tuple[Tensor, Tensor | None]:
    """The biases of the encoder and of its gate for an input that nothing is subtracted from."""
    assert a.b_pre is not None
    shift = a.b_pre @ a.w_enc
    if a.b_gate is None or a.r_mag is None:
        return a.b_enc - shift, None
    return a.b_enc - shift * a.r_mag.exp(), a.b_gate - shift


def _architecture(a: Autoencoder, transcoder: bool) -> str:
    """SAELens' name for it, or our own."""
    if not transcoder:
        return "standard" if a.activation == "relu" else a.activation
    kind = "transcoder" if a.w_skip is None else "skip_transcoder"
    if a.activation == "relu":
        name = kind
    else:
        name = f"{a.activation}_{kind}"
    # SAELens normalises a transcoder's input and leaves its output; we undo it there.
    theirs = a.activation in ("relu", "jumprelu") and a.normalisation == "none"
    return name if theirs else f"clew_{name}"


def _config(path: Path) -> _Config:
    given = read_json(path)
    metadata = given.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else given  # before version 6 all was in one
    own = metadata.get("clew")
    own = own if isinstance(own, dict) else {}
    architecture = given.get("architecture") or "standard"
    k = given.get("k")
    function = given.get("activation_fn_str") or given.get("activation_fn") or "relu"
    if function == "topk" and architecture == "standard":
        architecture = "topk"
        k = (given.get("activation_fn_kwargs") or {}).get("k")
    elif function not in ("relu", "topk"):
        raise wrong(path, f"the activation function {function!r} is not supported")
    activation, transcoder, skip = _kind(architecture, bool(own), path)
    d_in, n = setting(given, "d_in", int, path), setting(given, "d_sae", int, path)
    if activation == "topk":
        k = setting({"k": k}, "k", int, path)
        if k > n:
            raise wrong(path, f"k is {k:,}, of {n:,} latents")
    hook = text(metadata.get("hook_name")) or text(given.get("hook_point"))
    if hook is not None and "{layer}" in hook:
        hook = hook.replace("{layer}", str(given.get("hook_point_layer", given.get("hook_layer"))))
    if metadata.get("hook_head_index") is not None or given.get("hook_point_head_index") is not None:
        raise wrong(path, "it reads a single head, which is no site")
    model = text(own.get("model")) if own else text(metadata.get("model_name"))
    normalisation = given.get("normalize_activations") or "none"
    if isinstance(normalisation, bool):  # before version 3
        normalisation = "expected_average_only_in"
    scaled = normalisation == "expected_average_only_in"
    if not scaled and normalisation not in get_args(Normalisation):
        raise wrong(path, f"inputs normalised by {normalisation!r} are not supported")
    if own:
        said = _own_place(own, transcoder, model, path)
    elif hook is None:
        said = Said(model=model, transcoder=transcoder)
    else:
        said = Said.of_hooks(hook, text(metadata.get("hook_name_out")), model, transcoder)
    return _Config(
        path=path,
        architecture=architecture,
        activation=activation,
        transcoder=transcoder,
        skip=skip,
        sizes=(d_in, n, setting(given, "d_out", int, path) if transcoder else d_in),
        k=k if activation == "topk" else None,
        reads_minus_b_dec=not transcoder and given.get("apply_b_dec_to_input", True) is True,
        rescaled=given.get("rescale_acts_by_decoder_norm") is True,
        scaled=scaled,
        normalisation="none" if scaled else normalisation,
        said=said,
        origin=_own_origin(own, path) if own else _origin(given, metadata, architecture, model, path),
        own=own,
    )


def _kind(architecture: str, own: bool, path: Path) -> tuple[Activation, bool, bool]:
    """The activation, and whether it is a transcoder and has a skip term."""
    name = architecture.removeprefix("clew_") if own else architecture
    transcoder = name == "transcoder" or name.endswith("_transcoder")
    skip = transcoder and name.endswith("skip_transcoder")
    rest = name.removesuffix("transcoder").removesuffix("_").removesuffix("skip").removesuffix("_")
    activation = _ACTIVATIONS.get(rest or "standard" if transcoder else name)
    if activation is None or (transcoder and not own and activation in ("topk", "gated")):
        raise BadAutoencoder(
            f"{path} is of the architecture {architecture!r}, which Clew does not know.",
            f"It reads {', '.join(_ACTIVATIONS)}, and transcoders.",
        )
    return activation, transcoder, skip


def _own_place(own: Mapping[str, Any], transcoder: bool, model: str | None, path: Path) -> Said:
    try:
        reads, writes = (parse_site(setting(own, name, str, path)) for name in ("reads", "writes"))
    except BadSite as error:
        raise wrong(path, error.message.rstrip(".")) from error
    return Said(reads, writes, model, transcoder)


def _own_origin(own: Mapping[str, Any], path: Path) -> Origin:
    kinds = {"name": str, "format": str, "architecture": str, "dtype": str, "tied": bool}
    optional = {"model": str, "context": int, "bos": bool, "tokens": int}
    for name, kind in (kinds | optional).items():
        value = own.get(name)
        if not isinstance(value, kind) and not (value is None and name in optional):
            raise wrong(path, f"{name} is {value!r:.40}")
    return Origin(**{field.name: own[field.name] for field in fields(Origin) if field.name in own})


def _origin(given: Mapping[str, Any], metadata: Mapping[str, Any], kind: str, model: str | None, path: Path) -> Origin:
    context, bos = metadata.get("context_size"), metadata.get("prepend_bos")
    tokens = given.get("training_tokens", metadata.get("training_tokens"))
    trained_as = text(metadata.get("training_architecture")) or kind
    return Origin(
        name=path.absolute().parent.name,
        format="saelens",
        architecture=_TRAINED_AS.get(trained_as, trained_as),
        model=model,
        context=context if isinstance(context, int) else None,
        bos=bos if isinstance(bos, bool) else None,
        tokens=tokens if isinstance(tokens, int) and not isinstance(tokens, bool) else None,
        dtype=str(given.get("dtype", "float32")).removeprefix("torch."),
    )


def _threshold(found: Weights, config: _Config, w_dec: Tensor) -> Tensor:
    n = config.sizes[1]
    if "log_threshold" in found and "threshold" not in found:
        return found.take("log_threshold", n).exp()
    if config.architecture.endswith("batchtopk"):
        threshold = torch.full((n,), found.number("topk_threshold"))
        # A checkpoint compares it with what is multiplied by decoder norms; folding does that to thresholds too.
        return threshold / w_dec.norm(dim=1).clamp(min=1e-8) if config.rescaled else threshold
    return found.take("threshold", n)


def _factor(path: Path) -> float:
    """What SAELens multiplied x by while it trained."""
    if not path.is_file():
        raise BadAutoencoder(
            f"{path.parent} was trained on scaled activations, and does not say what they were scaled by.",
            f'Write {{"scaling_factor": NUMBER}} into {path.name} beside it: √d_in over the mean norm of activations.',
        )
    factor = read_json(path).get("scaling_factor")
    if not isinstance(factor, (int, float)) or isinstance(factor, bool) or not factor > 0:
        raise wrong(path, f"scaling_factor is {factor!r:.40}")
    return float(factor)
