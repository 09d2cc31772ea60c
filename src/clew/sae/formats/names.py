"""What others call a site: hook names of TransformerLens, and paths of modules in a Hugging Face model.

A hook or a module is a site only if its value is the site's, number for number. TransformerLens' `ln2.hook_normalized`
is what a norm gives before its weight, `hook_mlp_in` the residual stream before the norm, `mlp.act_fn` of a gated MLP
the gate alone: none of them is what the MLP reads or its output projection is given. They are refused by name.
"""

from __future__ import annotations

import re

from ...errors import BadSite
from ...nodes import Site

_HOOKS = {
    "mlp_act": "mlp.hook_post",
    "mlp_out": "hook_mlp_out",
    "attn_act": "attn.hook_z",
    "attn_out": "hook_attn_out",
    "resid": "hook_resid_post",
    "mlp_in": "mlp.hook_in",
}
_SITES = {hook: name for name, hook in _HOOKS.items()}
_MODULES = {
    "": "resid",
    "hook_out": "resid",
    "mlp": "mlp_out",
    "mlp.hook_out": "mlp_out",
    "mlp.down_proj": "mlp_out",
    "mlp.c_proj": "mlp_out",
    "mlp.dense_4h_to_h": "mlp_out",
    "mlp.act": "mlp_act",
    "attn": "attn_out",
    "attn.hook_out": "attn_out",
    "self_attn": "attn_out",
    "attention": "attn_out",
    "attn.c_proj": "attn_out",
    "self_attn.o_proj": "attn_out",
    "attention.dense": "attn_out",
}
"""A module's name inside its block, and the site that is its output."""
_NOT = {
    "hook_resid_mid": "it is the residual stream between attention and MLP",
    "hook_mlp_in": "it is the residual stream in front of the MLP's norm",
    "ln2.hook_normalized": "it is what the norm gives before its weight, and the MLP reads it after",
    "mlp.hook_pre": "it is what the MLP's non-linearity is given",
    "attn.hook_result": "it is a vector for every head",
    "mlp.act_fn": "in a gated MLP it is the gate alone",
    "mlp.activation_fn": "in a gated MLP it is the gate alone",
}
_BLOCK = re.compile(r"(?:[A-Za-z_]\w*\.)*(?:blocks|layers|layer|h)\.(0|[1-9][0-9]{0,8})(?:\.([\w.]+))?", re.ASCII)
# Their blocks norm what attention and MLP give before adding it, so that a module's output is not what is added.
_POST_NORM = re.compile(r"gemma-?[23](?!\d*b\b)|olmo-?2", re.ASCII | re.IGNORECASE)


def hook_of(site: Site) -> str:
    """TransformerLens' name for a site."""
    return f"blocks.{site.layer}.{_HOOKS[site.name]}"


def site_of(name: str, model: str | None = None) -> Site:
    """The site that a hook, or the output of a module, is; in a model of this name, if it is known.

    Raises BadSite, naming the hook and why it is none.
    """
    layer, part = _split(name)
    if part in _SITES:
        return Site(_SITES[part], layer)
    if part == "hook_resid_pre":
        return _before(name, layer)
    if part not in _MODULES:
        raise _refused(name, _NOT.get(part, "it has no name that Clew knows"))
    site = Site(_MODULES[part], layer)
    if site.name in ("mlp_out", "attn_out") and model is not None and _POST_NORM.search(model):
        raise _refused(name, f"{model} norms it before adding it to the residual stream")
    return site


def sites_of(name: str, model: str | None = None) -> tuple[Site, Site]:
    """The sites that are the input and the output of a module. Raises BadSite."""
    writes = site_of(name, model)
    match writes.name:
        case "mlp_out":
            return Site("mlp_in", writes.layer), writes
        case "resid":
            return _before(name, writes.layer), writes
        case _:
            raise _refused(name, "what that module reads is no site")


def _split(name: str) -> tuple[int, str]:
    """The layer, and the name inside the block."""
    match = _BLOCK.fullmatch(name)
    if match is None:
        raise _refused(name, "it is in no layer")
    return int(match[1]), match[2] or ""


def _before(name: str, layer: int) -> Site:
    """The residual stream that enters a layer."""
    if layer == 0:
        raise _refused(name, "it is the embedding, before any layer")
    return Site("resid", layer - 1)


def _refused(name: str, why: str) -> BadSite:
    shown = name if len(name) <= 80 else name[:77] + "..."
    return BadSite(f"{shown!r} is not a site: {why}.", "Name the site to read instead, such as mlp_out.10.")
