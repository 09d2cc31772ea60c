import { query } from "./params";

/** Everything a training's page shows, as the address bar spells it; the training itself is in the path. */
export interface TrainingView {
  /** Other trainings whose autoencoders are drawn beside. */
  beside: string[];
  /** Autoencoders whose lines are switched off. */
  hidden: string[];
  /** Whose densities are shown; null: the first one's. */
  density: string | null;
  /** Whether losses and FVU have a logarithmic axis. */
  log: boolean;
}

/** The view a query string spells. What it cannot mean is ignored. */
export function readTrainingView(search: string): TrainingView {
  const params = new URLSearchParams(search);
  return {
    beside: [...new Set(params.getAll("with"))],
    hidden: [...new Set(params.getAll("hide"))],
    density: params.get("density"),
    log: params.get("log") === "1",
  };
}

/** The query string of a view, with its "?", or "" for the default view. */
export function writeTrainingView({ beside, hidden, density, log }: TrainingView): string {
  const params = new URLSearchParams();
  for (const name of beside) params.append("with", name);
  for (const name of hidden) params.append("hide", name);
  if (density !== null) params.set("density", density);
  if (log) params.set("log", "1");
  return query(params);
}
