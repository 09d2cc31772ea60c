import { Failure } from "../../api/client";

/** The part of the page that a failure is about: its note stands there. */
export type FailurePlace = "prompt" | "tokens" | "direction" | "edits" | "trace";

const PLACES: Readonly<Record<string, FailurePlace>> = {
  not_one_token: "direction",
  bad_direction: "direction",
  position_out_of_range: "tokens",
  bad_edit: "edits",
  bad_node: "trace",
  bad_step: "trace",
};

export function placeOf(error: Error | null): FailurePlace | null {
  if (!error) return null;
  return (error instanceof Failure && PLACES[error.code]) || "prompt";
}

/** Asking the same again helps only when the question was not what was wrong. */
export function canRetry(error: Error): boolean {
  return !(error instanceof Failure) || ["unreachable", "busy", "internal", "failed"].includes(error.code);
}
