import type { CollectProgress } from "../../api/types";

export const STAGES: Record<CollectProgress["stage"], string> = {
  read: "Reading text",
  collect: "Running the model",
  merge: "Putting it together",
};

/** Of the whole work; running the model is nearly all of it. */
const PARTS: Record<CollectProgress["stage"], readonly [from: number, to: number]> = {
  read: [0, 0.03],
  collect: [0.03, 0.95],
  merge: [0.95, 1],
};

/** How much of a collection is done, from 0 to 1; it never goes back from stage to stage. */
export function shareDone({ stage, done, total }: CollectProgress): number {
  const [from, to] = PARTS[stage];
  return from + (to - from) * Math.min(1, total > 0 ? done / total : 0);
}
