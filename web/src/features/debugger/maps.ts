import type { Answer, Lens } from "../../api/types";
import type { MapName, View } from "../../url/view";
import { readingAt } from "./trace";

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

/** The positions whose stream is read straight into what is explained. */
export function readingPositions(answer: Answer): number[] {
  const step = answer.trace.at(-1);
  return step ? readingAt(step) : [answer.direction.position];
}

function embedding(map: "direct" | "estimated", answer: Answer): number[] {
  if (map === "estimated") return answer.by_token.map((token) => token.embed);
  const effect = answer.by_layer.find((step) => step.step === "embed")?.direct_effect ?? 0;
  const reading = readingPositions(answer);
  // Where one position is read its embedding is all of the sum; of several only those listed are known apart.
  const known = new Map(answer.nodes.map((node) => [node.id, node.direct_effect]));
  return answer.tokens.map((_, i) => {
    if (!reading.includes(i)) return 0;
    return reading.length === 1 ? effect : (known.get(`embed@${i}`) ?? Number.NaN);
  });
}

/** The node table's filters that leave what one cell of a map adds together. */
export function cellFilters(
  map: MapName,
  row: number,
  column: number,
  reading: readonly number[],
): Pick<View, "kinds" | "layers" | "positions" | "sources"> {
  if (row === 0) return { kinds: ["embed"], layers: [], positions: [column], sources: [] };
  const layers = [row - 1];
  if (map === "direct" && !reading.includes(column))
    return { kinds: [], layers, positions: [...reading], sources: [column] };
  return { kinds: [], layers, positions: [column], sources: [] };
}
