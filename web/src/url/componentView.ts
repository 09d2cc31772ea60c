import { type Chosen, oneOf, query, readChosen, whole, writeChosen } from "./params";

export const LAYOUTS = ["stacked", "line"] as const;
export type Layout = (typeof LAYOUTS)[number];

export const GROUPS = ["top", "bottom", "bands", "random"] as const;
export type Group = (typeof GROUPS)[number];

/** What pointing at a token of a head's text shows: who attends to it, or whom it attends to. */
export const DIRECTIONS = ["from", "to"] as const;
export type Direction = (typeof DIRECTIONS)[number];

/** Which of the texts that an explanation was scored on are shown. */
export const TEXTS_SHOWN = ["none", "all", "top", "random", "near_miss"] as const;
export type TextsShown = (typeof TEXTS_SHOWN)[number];

/** Everything a component's page shows, as the address bar spells it; the component itself is in the path. */
export interface ComponentView {
  /** null: the server's example. */
  prompt: string | null;
  bos: boolean;
  /** Whose latents there are. */
  autoencoders: Chosen;
  /** Examples wrapped over several lines, or one line each with the peaks under each other. */
  layout: Layout;
  group: Group;
  direction: Direction;
  /** The number of the explanation that is shown; null: the best one. */
  explanation: number | null;
  texts: TextsShown;
}

const DEFAULT: ComponentView = {
  prompt: null,
  bos: false,
  autoencoders: null,
  layout: "stacked",
  group: "top",
  direction: "from",
  explanation: null,
  texts: "none",
};

/** The view a query string spells. What it cannot mean is ignored. */
export function readComponentView(search: string): ComponentView {
  const params = new URLSearchParams(search);
  return {
    prompt: params.get("p"),
    bos: params.get("bos") === "1",
    autoencoders: readChosen(params),
    layout: oneOf(LAYOUTS, params.get("layout")) ?? DEFAULT.layout,
    group: oneOf(GROUPS, params.get("group")) ?? DEFAULT.group,
    direction: oneOf(DIRECTIONS, params.get("hover")) ?? DEFAULT.direction,
    explanation: whole(params.get("words")),
    texts: oneOf(TEXTS_SHOWN, params.get("texts")) ?? DEFAULT.texts,
  };
}

/** The query string of a view, with its "?", or "" for the default view. */
export function writeComponentView(view: ComponentView): string {
  const { prompt, bos, layout, group, direction, explanation, texts } = view;
  const params = new URLSearchParams();
  if (prompt !== null) params.set("p", prompt);
  if (bos) params.set("bos", "1");
  writeChosen(params, view.autoencoders);
  if (layout !== DEFAULT.layout) params.set("layout", layout);
  if (group !== DEFAULT.group) params.set("group", group);
  if (direction !== DEFAULT.direction) params.set("hover", direction);
  if (explanation !== null) params.set("words", String(explanation));
  if (texts !== DEFAULT.texts) params.set("texts", texts);
  return query(params);
}
