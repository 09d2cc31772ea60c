import type { Firings, PushMatches, TokenMatches } from "../../api/types";
import { percent, signed } from "../../format/number";
import type { ColumnKey, FiringMode } from "../../url/searchView";

/** A component that a search found, with what each search says of one. */
export type Found = { id: string } & Partial<
  Firings["rows"][number] & TokenMatches["rows"][number] & PushMatches["rows"][number]
>;

export interface Column {
  key: ColumnKey;
  label: string;
  title: string;
  /** An amount is emerald, an effect blue or orange, by the largest of the page. */
  look: "amount" | "effect" | "plain";
  show: (value: number | null | undefined) => string;
}

const share = (value: number | null | undefined) =>
  value === null || value === undefined ? "–" : percent(value);
const plain = (value: number | null | undefined) =>
  value === null || value === undefined ? "–" : String(value);

const DENSITY: Column = {
  key: "density",
  label: "Density",
  title: "Share of the atlas’s tokens with an activation above zero",
  look: "plain",
  show: share,
};
const STRONG: Column = {
  key: "strong",
  label: "Strong",
  title: "Share of the atlas’s tokens within three octaves of its largest activation: above an eighth of it",
  look: "plain",
  show: share,
};

export const COLUMNS: Record<FiringMode, readonly Column[]> = {
  prompt: [
    {
      key: "z",
      label: "z",
      title: "Standard deviations above its mean over the atlas: how unusual this is for it",
      look: "amount",
      show: signed,
    },
    {
      key: "activation",
      label: "Activation",
      title: "A neuron’s or latent’s activation; the length of what a head writes",
      look: "plain",
      show: signed,
    },
    {
      key: "ratio",
      label: "Of its maximum",
      title: "The activation over its largest in the atlas",
      look: "plain",
      show: share,
    },
    DENSITY,
    STRONG,
  ],
  token: [
    {
      key: "share",
      label: "Share",
      title: "How many of all its top examples are on this token",
      look: "amount",
      show: share,
    },
    {
      key: "examples",
      label: "Examples",
      title: "Its top examples that are on this token",
      look: "plain",
      show: plain,
    },
    {
      key: "activation",
      label: "Activation",
      title: "Its largest activation on this token, among its top examples",
      look: "plain",
      show: signed,
    },
    DENSITY,
    STRONG,
  ],
  push: [
    {
      key: "push",
      label: "Push",
      title:
        "Logits that a write of length 1 adds to this token, relative to the vocabulary’s mean; for a head the largest that any of its writes could add",
      look: "effect",
      show: signed,
    },
    DENSITY,
    STRONG,
  ],
};

/** What cannot be sorted by without an atlas. */
export function needsAtlas(mode: FiringMode, key: ColumnKey): boolean {
  return mode === "token" || (mode === "prompt" ? key !== "activation" : key !== "push");
}
