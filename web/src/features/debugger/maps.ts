import type { Answer, Lens } from "../../api/types";
import type { MapName, View } from "../../url/view";

/**
 * A heat map: row 0 is the embedding, row l + 1 is layer l; one column a token.
 *
 * In the lens map row 0 is the stream before the first layer and row l + 1 the stream after layer l, which is the
 * same grid read as "up to here".
 */
export type Grid = readonly (readonly number[])[];

/** The grid of one map, or null while the lens has not arrived. */
export function gridOf(map: MapName, answer: Answer, lens: Lens | undefined): Grid | null {
  if (map === "lens") return lens ? lens.value : null;
  return [embedding(map, answer), ...answer.by_layer_position[map]];
}

function embedding(map: "direct" | "estimated", answer: Answer): number[] {
  if (map === "estimated") return answer.by_token.map((token) => token.embed);
  // Only the position of interest writes its embedding straight into D.
  const effect = answer.by_layer.find((step) => step.step === "embed")?.direct_effect ?? 0;
  return answer.tokens.map((_, i) => (i === answer.direction.position ? effect : 0));
}

/** The node table's filters that leave what one cell of a map adds together. */
export function cellFilters(
  map: MapName,
  row: number,
  column: number,
  at: number,
): Pick<View, "kinds" | "layers" | "positions" | "sources"> {
  if (row === 0) return { kinds: ["embed"], layers: [], positions: [column], sources: [] };
  const layers = [row - 1];
  if (map === "direct" && column !== at) return { kinds: [], layers, positions: [at], sources: [column] };
  return { kinds: [], layers, positions: [column], sources: [] };
}
