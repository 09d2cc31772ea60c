import type { Ablation, NodeEffect } from "../../api/types";
import { isOff, type View } from "../../url/view";

/** The ops of an edit; docs/interventions.md says what each does where. */
export const OPS = ["zero", "mean", "patch", "scale", "set", "steer", "cut"] as const;
export type Op = (typeof OPS)[number];

export const OP_TITLES: Record<Op, string> = {
  zero: "Set to zero; of an attention pair its weight, and the rest of its row is left as it is",
  mean: "Set to its mean over the prompt’s other positions",
  patch: "Set to its value on the second prompt, at the aligned position",
  scale: "Multiply by the value",
  set: "Set a neuron’s or latent’s activation, a head’s length of mix, or a pair’s weight to the value",
  steer: "Add the unit direction of its write, this many times",
  cut: "Set an attention pair’s weight to zero and scale the rest of its row to sum to 1 again",
};

/** The value that the form offers for an op that needs one. */
export const FIRST_VALUE: Partial<Record<Op, string>> = { scale: "2", set: "1", steer: "5" };

/** An edit taken apart, as far as its text goes; the server judges what it means. */
export interface EditText {
  op: string;
  place: string;
  /** null: the op takes none. */
  value: string | null;
  off: boolean;
}

export function readEdit(text: string): EditText {
  const off = isOff(text);
  const [, op = "", place = "", value] =
    /^([^:]*):?([^=]*)(?:=(.*))?$/s.exec(off ? text.slice(1) : text) ?? [];
  return { op, place, value: value ?? null, off };
}

export function writeEdit({ op, place, value, off }: EditText): string {
  return `${off ? "!" : ""}${op}:${place}${value === null ? "" : `=${value}`}`;
}

/** Why a node cannot be edited; null when it can. */
export function noEdit(node: NodeEffect): string | null {
  return node.kind === "bias"
    ? "A bias is a constant of the model: no token writes it, so there is nothing at one to change."
    : null;
}

/** Why a node cannot be verified in this way; null when it can. */
export function noVerify(id: string, ablation: Ablation): string | null {
  if (id.startsWith("bias")) return "A bias is a constant of the model: there is no running it without.";
  if (ablation !== "zero" && id.includes("<-"))
    return "A pair is one attention weight: it can be set to zero, not to its mean or resampled.";
  return null;
}

/** The ops that make sense at a node. */
export function opsAt(node: NodeEffect): readonly Op[] {
  if (node.kind === "embed" || node.kind === "error") return ["zero", "mean", "patch", "scale", "steer"];
  if (node.source !== null) return ["zero", "cut", "scale", "set"];
  if (node.kind === "attn" || node.kind === "neuron" || node.kind === "latent")
    return ["zero", "mean", "patch", "scale", "set", "steer"];
  return [];
}

export function zero(id: string): string {
  return `zero:${id}`;
}

/** The stack with the edit at `from` moved to `to`. */
export function moved(edits: readonly string[], from: number, to: number): string[] {
  const rest = edits.filter((_, i) => i !== from);
  const edit = edits[from];
  if (edit === undefined || to < 0 || to >= edits.length) return [...edits];
  return [...rest.slice(0, to), edit, ...rest.slice(to)];
}

/** The stack without these ablations if it has all of them, and with those it lacks otherwise. */
export function toggledAblations(edits: readonly string[], ids: readonly string[]): string[] {
  const ablations = ids.map(zero);
  const all = ablations.every((edit) => edits.includes(edit));
  // One that is switched off is switched on, in its place.
  if (all) return edits.filter((edit) => !ablations.includes(edit));
  const on = edits.map((edit) => (isOff(edit) && ablations.includes(edit.slice(1)) ? edit.slice(1) : edit));
  return [...on, ...ablations.filter((edit) => !on.includes(edit))];
}

/** A new stack, and what it does to the tables: the first active edit puts before and after side by side. */
export function withEdits(view: Pick<View, "edits" | "compare">, edits: string[]): Partial<View> {
  const had = view.edits.some((edit) => !isOff(edit));
  const has = edits.some((edit) => !isOff(edit));
  if (has && !had) return { edits, compare: "edited" };
  if (!has && view.compare === "edited") return { edits, compare: null };
  return { edits };
}

/** The edits that still mean something for another prompt: those made at every position. */
export function everywhere(edits: readonly string[]): string[] {
  return edits.filter((edit) => !/@|<-/.test(edit));
}

/** The edits that are left when these are the autoencoders' sites: a latent or error of another is not there. */
export function editsWith(edits: readonly string[], sites: readonly string[]): string[] {
  return edits.filter((edit) => {
    const site = /^!?[a-z]+:(?:latent|error)\.([a-z_]+\.\d+)/.exec(edit)?.[1];
    return site === undefined || sites.includes(site);
  });
}
