import { Failure } from "../../api/client";
import type { Question } from "../../api/types";

/** The part of the page that a failure is about: its note stands there. */
export type FailurePlace = "prompt" | "tokens" | "direction" | "autoencoders" | "edits" | "trace";

const PLACES: Readonly<Record<string, FailurePlace>> = {
  not_one_token: "direction",
  bad_direction: "direction",
  position_out_of_range: "tokens",
  unknown_autoencoder: "autoencoders",
  bad_autoencoder: "autoencoders",
  wrong_autoencoder: "autoencoders",
  bad_edit: "edits",
  bad_node: "trace",
};

export function placeOf(error: Error | null, question: Question | null): FailurePlace | null {
  if (!error) return null;
  const place = (error instanceof Failure && PLACES[error.code]) || "prompt";
  // Without a stack or a trail there is no such place on the page, and no failure may go unseen.
  if (place === "edits" && !question?.edits.length) return "prompt";
  if (place === "trace" && !question?.trace.length) return "prompt";
  return place;
}
